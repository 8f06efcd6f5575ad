//! Graphs: nodes in topological order over typed values.

use indexmap::IndexMap;

use super::{DType, NodeId, Op, Shape, Tensor, ValueId};
use crate::error::{CoreError, CoreErrorKind, Result};
use crate::plan::Precision;
use crate::quant::QuantParams;

/// A tensor of the graph: an input, a constant, or what a node produces.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// Unique within the graph.
    pub name: String,
    /// Element type, once known.
    pub dtype: Option<DType>,
    /// Shape, once its rank is known.
    pub shape: Option<Shape>,
    /// How integers stand for real numbers, on quantized values only.
    pub quant: Option<QuantParams>,
    /// The elements, on constants only.
    pub constant: Option<Tensor>,
}

impl Value {
    /// The extents, where all of them are known.
    pub fn extents(&self) -> Option<Vec<usize>> {
        self.shape.as_ref().and_then(Shape::extents)
    }
}

/// One operation: its operator, what it reads and what it produces.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Unique within the graph; what people pin and reports show.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// What it reads; `None` where an optional input is absent.
    pub inputs: Vec<Option<ValueId>>,
    /// What it produces.
    pub outputs: Vec<ValueId>,
    /// How it computes where the types of its values do not tell: dynamic quantization, weight-only, f16 or bf16
    /// arithmetic on f32 values. `None`: as the types say.
    pub precision: Option<Precision>,
}

impl Node {
    /// The input at `index`, where present.
    pub fn input(&self, index: usize) -> Option<ValueId> {
        self.inputs.get(index).copied().flatten()
    }
}

/// A model: what to compute, not where or at which precision (that is [`Plan`](crate::plan::Plan)).
///
/// Nodes and values live in arenas; removed nodes leave holes until [`Graph::compact`]. [`Graph::node_ids`] is a
/// topological order as long as every node was added after its producers, which [`Graph::sort`] restores.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Graph {
    /// The model's name.
    pub name: String,
    /// Free text of the file: producer, version, the hash of the plan that made it.
    pub metadata: IndexMap<String, String>,
    values: Vec<Value>,
    nodes: Vec<Option<Node>>,
    order: Vec<NodeId>,
    /// What the caller gives, in order.
    pub inputs: Vec<ValueId>,
    /// What the caller gets, in order.
    pub outputs: Vec<ValueId>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Adds a value that is neither constant nor produced yet.
    pub fn add_value(
        &mut self,
        name: impl Into<String>,
        dtype: Option<DType>,
        shape: Option<Shape>,
    ) -> ValueId {
        self.push_value(Value { name: name.into(), dtype, shape, quant: None, constant: None })
    }

    /// Adds a graph input.
    pub fn add_input(&mut self, name: impl Into<String>, dtype: DType, shape: Shape) -> ValueId {
        let id = self.add_value(name, Some(dtype), Some(shape));
        self.inputs.push(id);
        id
    }

    /// Adds a constant.
    pub fn add_constant(&mut self, name: impl Into<String>, tensor: Tensor) -> ValueId {
        self.push_value(Value {
            name: name.into(),
            dtype: Some(tensor.dtype()),
            shape: Some(tensor.shape()),
            quant: None,
            constant: Some(tensor),
        })
    }

    /// Adds any value.
    pub fn push_value(&mut self, value: Value) -> ValueId {
        let id = ValueId(u32::try_from(self.values.len()).expect("a graph has fewer than 2^32 values"));
        self.values.push(value);
        id
    }

    /// Adds a node behind all others.
    pub fn add_node(&mut self, node: Node) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).expect("a graph has fewer than 2^32 nodes"));
        self.nodes.push(Some(node));
        self.order.push(id);
        id
    }

    /// Adds a node of `op` with one new output value named like the node; its type is left to inference.
    pub fn add_op(&mut self, name: impl Into<String>, op: Op, inputs: &[ValueId]) -> ValueId {
        let name = name.into();
        let output = self.add_value(name.clone(), None, None);
        self.add_node(Node {
            name,
            op,
            inputs: inputs.iter().copied().map(Some).collect(),
            outputs: vec![output],
            precision: None,
        });
        output
    }

    /// The value of that id.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// The value of that id, to change.
    pub fn value_mut(&mut self, id: ValueId) -> &mut Value {
        &mut self.values[id.index()]
    }

    /// Ids of all values, in the order they were added.
    pub fn value_ids(&self) -> impl DoubleEndedIterator<Item = ValueId> + ExactSizeIterator + use<> {
        (0..self.values.len() as u32).map(ValueId)
    }

    /// The node of that id, unless it was removed.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.index())?.as_ref()
    }

    /// The node of that id to change, unless it was removed.
    pub fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(id.index())?.as_mut()
    }

    /// Ids of the nodes that were not removed, in topological order.
    pub fn node_ids(&self) -> Vec<NodeId> {
        self.order.iter().copied().filter(|id| self.nodes[id.index()].is_some()).collect()
    }

    /// The nodes with their ids, in topological order.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.order.iter().filter_map(|&id| Some((id, self.nodes[id.index()].as_ref()?)))
    }

    /// The number of nodes that were not removed.
    pub fn node_count(&self) -> usize {
        self.nodes.iter().flatten().count()
    }

    /// Removes a node; its outputs stay as values without a producer.
    pub fn remove_node(&mut self, id: NodeId) -> Option<Node> {
        self.nodes.get_mut(id.index())?.take()
    }

    /// Lets every reader of `old`, and the graph's outputs, read `new` instead.
    pub fn replace_uses(&mut self, old: ValueId, new: ValueId) {
        for node in self.nodes.iter_mut().flatten() {
            for input in node.inputs.iter_mut().flatten() {
                if *input == old {
                    *input = new;
                }
            }
        }
        for output in &mut self.outputs {
            if *output == old {
                *output = new;
            }
        }
    }

    /// Per value, the node that produces it.
    pub fn producers(&self) -> Vec<Option<NodeId>> {
        let mut producers = vec![None; self.values.len()];
        for (id, node) in self.nodes() {
            for &output in &node.outputs {
                producers[output.index()] = Some(id);
            }
        }
        producers
    }

    /// Per value, the nodes that read it, in topological order, each once.
    pub fn consumers(&self) -> Vec<Vec<NodeId>> {
        let mut consumers: Vec<Vec<NodeId>> = vec![Vec::new(); self.values.len()];
        for (id, node) in self.nodes() {
            for &input in node.inputs.iter().flatten() {
                let readers = &mut consumers[input.index()];
                if readers.last() != Some(&id) {
                    readers.push(id);
                }
            }
        }
        consumers
    }

    /// Whether the caller of the graph gets `id`.
    pub fn is_output(&self, id: ValueId) -> bool {
        self.outputs.contains(&id)
    }

    /// The value of that name; the first where names are not unique.
    pub fn find_value(&self, name: &str) -> Option<ValueId> {
        self.value_ids().find(|&id| self.value(id).name == name)
    }

    /// The node of that name.
    pub fn find_node(&self, name: &str) -> Option<NodeId> {
        self.nodes().find(|(_, node)| node.name == name).map(|(id, _)| id)
    }

    /// A value name that is not taken yet: `base`, or `base_2`, `base_3`, …
    pub fn fresh_value_name(&self, base: &str) -> String {
        fresh(base, |name| self.values.iter().any(|value| value.name == name))
    }

    /// A node name that is not taken yet: `base`, or `base_2`, `base_3`, …
    pub fn fresh_node_name(&self, base: &str) -> String {
        fresh(base, |name| self.nodes.iter().flatten().any(|node| node.name == name))
    }

    /// Restores the topological order, stable with respect to the present one.
    ///
    /// # Errors
    /// [`CoreErrorKind::Structure`] naming a node on the cycle when there is one.
    pub fn sort(&mut self) -> Result<()> {
        let producers = self.producers();
        let mut waiting = vec![0usize; self.nodes.len()];
        let mut readers: Vec<Vec<NodeId>> = vec![Vec::new(); self.nodes.len()];
        let ids = self.node_ids();
        for &id in &ids {
            let Some(node) = self.node(id) else { continue };
            for input in node.inputs.iter().flatten() {
                if let Some(producer) = producers[input.index()] {
                    waiting[id.index()] += 1;
                    readers[producer.index()].push(id);
                }
            }
        }
        let position: IndexMap<NodeId, usize> = ids.iter().enumerate().map(|(at, &id)| (id, at)).collect();
        let mut ready: std::collections::BTreeSet<(usize, NodeId)> =
            ids.iter().filter(|id| waiting[id.index()] == 0).map(|&id| (position[&id], id)).collect();
        let mut order = Vec::with_capacity(ids.len());
        while let Some((_, id)) = ready.pop_first() {
            order.push(id);
            for &reader in &readers[id.index()] {
                waiting[reader.index()] -= 1;
                if waiting[reader.index()] == 0 {
                    ready.insert((position[&reader], reader));
                }
            }
        }
        if order.len() < ids.len() {
            let stuck = ids.iter().find(|id| waiting[id.index()] > 0).and_then(|&id| self.node(id));
            return Err(CoreError::new(CoreErrorKind::Structure, "expected an acyclic graph, found a cycle")
                .at(stuck.map(|node| node.name.clone()).unwrap_or_default())
                .help("break the cycle: a node may only read what earlier nodes produce"));
        }
        self.order = order;
        Ok(())
    }

    /// Drops removed nodes and values nobody reads, produces or names as input or output; ids change.
    ///
    /// # Errors
    /// [`CoreErrorKind::Structure`] when the graph has a cycle.
    pub fn compact(&mut self) -> Result<()> {
        self.sort()?;
        let mut used = vec![false; self.values.len()];
        for &id in self.inputs.iter().chain(&self.outputs) {
            used[id.index()] = true;
        }
        for node in self.nodes.iter().flatten() {
            for &id in node.inputs.iter().flatten().chain(&node.outputs) {
                used[id.index()] = true;
            }
        }
        let mut renamed = vec![ValueId(u32::MAX); self.values.len()];
        let mut values = Vec::new();
        for (index, value) in std::mem::take(&mut self.values).into_iter().enumerate() {
            if used[index] {
                renamed[index] = ValueId(values.len() as u32);
                values.push(value);
            }
        }
        self.values = values;
        let nodes: Vec<Node> = self.order.iter().filter_map(|&id| self.nodes[id.index()].take()).collect();
        self.order = (0..nodes.len() as u32).map(NodeId).collect();
        self.nodes = nodes
            .into_iter()
            .map(|mut node| {
                for input in node.inputs.iter_mut().flatten() {
                    *input = renamed[input.index()];
                }
                for output in &mut node.outputs {
                    *output = renamed[output.index()];
                }
                Some(node)
            })
            .collect();
        for id in self.inputs.iter_mut().chain(&mut self.outputs) {
            *id = renamed[id.index()];
        }
        Ok(())
    }
}

fn fresh(base: &str, taken: impl Fn(&str) -> bool) -> String {
    if !taken(base) {
        return base.to_owned();
    }
    let mut number = 2u64;
    loop {
        let name = format!("{base}_{number}");
        if !taken(&name) {
            return name;
        }
        number += 1;
    }
}
