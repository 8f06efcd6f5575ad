//! Functions that a model brings along: nodes that call them are replaced by their bodies.
//!
//! Happens on the file's own messages, before anything is translated, so that nothing behind knows of functions. What a
//! body calls its own gets the calling node's name in front; attributes that refer to the call's take its values.

use std::collections::HashMap;

use crate::error::{OnnxError, OnnxErrorKind, Result};
use crate::proto::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto};

/// How deep functions may call functions; deeper is a function that calls itself.
const DEPTH_MAX: usize = 16;
/// How many nodes a model may have when all calls are replaced.
const NODES_MAX: usize = 1 << 20;

/// Domain, name and overload.
type Key = (String, String, String);

/// Replaces every call of the model's own functions.
///
/// # Errors
/// [`OnnxErrorKind::Structure`] at the calling node for functions that call themselves, or whose bodies are too many
/// nodes; [`OnnxErrorKind::Version`] for a function of another operator set than the model's.
pub(super) fn inline(model: &mut ModelProto) -> Result<()> {
    if model.functions.is_empty() {
        return Ok(());
    }
    let functions = std::mem::take(&mut model.functions);
    let mut inliner =
        Inliner { functions: HashMap::new(), sets: &mut model.opset_import, nodes: 0, calls: 0 };
    for function in &functions {
        let key = (own(function.domain()), function.name().to_owned(), function.overload().to_owned());
        inliner.functions.insert(key, function);
    }
    if let Some(graph) = &mut model.graph {
        inliner.graph(graph, 0)?;
    }
    Ok(())
}

/// A domain; ONNX's own has two spellings.
fn own(domain: &str) -> String {
    if domain == "ai.onnx" { String::new() } else { domain.to_owned() }
}

struct Inliner<'m> {
    functions: HashMap<Key, &'m FunctionProto>,
    /// The model's operator sets.
    sets: &'m mut Vec<OperatorSetIdProto>,
    /// Nodes so far.
    nodes: usize,
    /// Calls so far.
    calls: usize,
}

impl Inliner<'_> {
    fn graph(&mut self, graph: &mut GraphProto, depth: usize) -> Result<()> {
        graph.node = self.list(std::mem::take(&mut graph.node), depth)?;
        Ok(())
    }

    fn list(&mut self, nodes: Vec<NodeProto>, depth: usize) -> Result<Vec<NodeProto>> {
        let mut list = Vec::with_capacity(nodes.len());
        for mut node in nodes {
            self.nodes += 1;
            let key = (own(node.domain()), node.op_type().to_owned(), node.overload().to_owned());
            let Some(&function) = self.functions.get(&key) else {
                for graph in node.attribute.iter_mut().filter_map(|attribute| attribute.g.as_mut()) {
                    self.graph(graph, depth)?;
                }
                list.push(node);
                continue;
            };
            let fail = |message: String| {
                Err(OnnxError::new(OnnxErrorKind::Structure, message).at(place(&node)).with_help(
                    "inline the functions with onnx.inliner.inline_local_functions to see what they are",
                ))
            };
            if depth == DEPTH_MAX {
                return fail(format!(
                    "expected functions that nest at most {DEPTH_MAX} deep, found `{}` deeper: it may call itself",
                    function.name()
                ));
            }
            if self.nodes > NODES_MAX {
                return fail(format!(
                    "expected at most {NODES_MAX} nodes with all functions in place, found more"
                ));
            }
            self.sets(function, &node)?;
            self.calls += 1;
            let body = Call::new(function, &node, self.calls).body();
            list.extend(self.list(body, depth + 1)?);
        }
        Ok(list)
    }

    /// Takes over the operator sets of a function that the model does not name.
    fn sets(&mut self, function: &FunctionProto, node: &NodeProto) -> Result<()> {
        for set in &function.opset_import {
            let domain = own(set.domain());
            match self.sets.iter().find(|other| own(other.domain()) == domain) {
                Some(known) if known.version() == set.version() => {}
                // A set without operators in the body may be of any version; only ONNX's own has several here.
                Some(_) if !domain.is_empty() => {}
                Some(known) => {
                    let message = format!(
                        "expected function `{}` of operator set {}, as the model, found {}",
                        function.name(),
                        known.version(),
                        set.version()
                    );
                    return Err(OnnxError::new(OnnxErrorKind::Version, message)
                        .at(place(node))
                        .with_help("inline the functions with onnx.inliner.inline_local_functions"));
                }
                None => self.sets.push(set.clone()),
            }
        }
        Ok(())
    }
}

/// The name of a node for messages: its own, or that of what it makes.
fn place(node: &NodeProto) -> String {
    let first = node.output.iter().find(|name| !name.is_empty()).map_or(node.op_type(), String::as_str);
    if node.name().is_empty() { first.to_owned() } else { node.name().to_owned() }
}

/// One call of a function.
struct Call<'m> {
    function: &'m FunctionProto,
    node: NodeProto,
    /// What stands before the body's own names.
    prefix: String,
    /// The call's names for the function's inputs and outputs.
    names: HashMap<&'m str, String>,
}

impl<'m> Call<'m> {
    fn new(function: &'m FunctionProto, node: &NodeProto, number: usize) -> Self {
        // The number keeps calls apart whose nodes have one name.
        let prefix = format!("{}/{number}/", place(node));
        let given = |names: &[String], at: usize| names.get(at).cloned().unwrap_or_default();
        let mut names: HashMap<&str, String> = HashMap::new();
        for (at, name) in function.input.iter().enumerate() {
            names.insert(name, given(&node.input, at));
        }
        for (at, name) in function.output.iter().enumerate() {
            let wanted = given(&node.output, at);
            // An input that is handed on keeps its name in the body; `body` copies it.
            if !wanted.is_empty() && !function.input.contains(name) {
                names.insert(name, wanted);
            }
        }
        Self { function, node: node.clone(), prefix, names }
    }

    fn body(&self) -> Vec<NodeProto> {
        let mut body: Vec<NodeProto> = self.function.node.iter().map(|node| self.renamed(node)).collect();
        for (name, wanted) in self.function.output.iter().zip(&self.node.output) {
            if self.function.input.contains(name) && !wanted.is_empty() {
                body.push(NodeProto {
                    op_type: Some("Identity".to_owned()),
                    input: vec![self.name(name)],
                    output: vec![wanted.clone()],
                    ..NodeProto::default()
                });
            }
        }
        body
    }

    /// A name of the body in the calling graph.
    fn name(&self, name: &str) -> String {
        if name.is_empty() {
            return String::new();
        }
        self.names.get(name).cloned().unwrap_or_else(|| format!("{}{name}", self.prefix))
    }

    fn renamed(&self, node: &NodeProto) -> NodeProto {
        let mut renamed = node.clone();
        for name in renamed.input.iter_mut().chain(&mut renamed.output) {
            *name = self.name(name);
        }
        if !node.name().is_empty() {
            renamed.name = Some(format!("{}{}", self.prefix, node.name()));
        }
        renamed.attribute = node.attribute.iter().filter_map(|attribute| self.attribute(attribute)).collect();
        renamed
    }

    /// An attribute with the call's value where it refers to one; `None` where neither the call nor the function has
    /// any.
    fn attribute(&self, attribute: &AttributeProto) -> Option<AttributeProto> {
        let mut value = match attribute.ref_attr_name() {
            "" => attribute.clone(),
            wanted => {
                let mut all = self.node.attribute.iter().chain(&self.function.attribute_proto);
                let mut value = all.find(|given| given.name() == wanted)?.clone();
                value.name.clone_from(&attribute.name);
                // What the caller wrote is in the caller's names already.
                return Some(value);
            }
        };
        for graph in value.g.iter_mut().chain(&mut value.graphs) {
            self.graph(graph);
        }
        Some(value)
    }

    /// Renames everything in a graph of the body.
    fn graph(&self, graph: &mut GraphProto) {
        for info in graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info) {
            info.name = Some(self.name(info.name()));
        }
        for tensor in &mut graph.initializer {
            tensor.name = Some(self.name(tensor.name()));
        }
        graph.node = graph.node.iter().map(|node| self.renamed(node)).collect();
    }
}
