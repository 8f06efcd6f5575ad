//! What binds several nodes: each function takes choices away that do not go with their neighbours.

use super::scales::Classes;
use super::{Ban, Planner};
use crate::capability::{Reason, Support, operands, reasons};
use crate::ir::ValueId;
use crate::lower::keeps_parameters;

impl Planner<'_> {
    /// The choices of this round that cannot stay; the first kind that takes any away ends the round.
    pub(super) fn bonds(&self) -> Vec<Ban> {
        if self.is_quantized_already() {
            return self.partitions();
        }
        if self.request.strategy == crate::plan::Strategy::Mixed {
            // What conversions cost, and that movers follow, the solver has seen.
            let bans = self.partitions();
            return if bans.is_empty() { self.conflicts(&self.classes()) } else { bans };
        }
        let rules: [&dyn Fn() -> Vec<Ban>; 6] = [
            &|| self.partitions(),
            &|| self.movers(),
            &|| self.followers(),
            &|| self.tails(),
            &|| self.conflicts(&self.classes()),
            &|| self.islands(),
        ];
        rules.into_iter().map(|rule| rule()).find(|bans| !bans.is_empty()).unwrap_or_default()
    }

    fn is_quantized_already(&self) -> bool {
        let graph = self.request.graph;
        graph.value_ids().any(|id| graph.value(id).quant.is_some())
    }

    fn ban(&self, place: usize, code: &str, message: String, fix: Option<&str>) -> Option<Ban> {
        let chosen = self.nodes[place].chosen?;
        let reason = Reason { code: code.into(), rule: None, message, fix: fix.map(str::to_owned) };
        Some((place, chosen, reason))
    }

    /// On a processor that runs one connected part, what follows a node that runs elsewhere runs elsewhere too.
    fn partitions(&self) -> Vec<Ban> {
        let mut bans = Vec::new();
        for (index, processor) in self.request.target.processors.iter().enumerate() {
            if !processor.single_partition {
                continue;
            }
            // For each value: whether the part has begun before it, and the node that ended the part, if one did.
            let mut state: Vec<(bool, Option<usize>)> = vec![(false, None); self.producers.len()];
            for (place, planned) in self.nodes.iter().enumerate() {
                let inputs = planned.node.inputs.iter().flatten().map(|id| state[id.index()]);
                let (mut begun, mut ended) =
                    inputs.fold((false, None), |(begun, ended), (b, e)| (begun || b, ended.or(e)));
                let here = planned.candidate().is_some_and(|candidate| candidate.processor == index);
                if here && let Some(end) = ended.filter(|_| planned.has_alternative()) {
                    let name = &self.nodes[end].node.name;
                    bans.extend(self.ban(
                        place,
                        reasons::PARTITION,
                        format!("{} runs one connected part, which `{name}` ends", processor.id),
                        None,
                    ));
                }
                if here {
                    begun = true;
                } else if begun {
                    ended = ended.or(Some(place));
                }
                for output in &planned.node.outputs {
                    state[output.index()] = (begun, ended);
                }
            }
        }
        bans
    }

    /// Operators that only move elements follow the form of what they read.
    fn movers(&self) -> Vec<Ban> {
        let mut bans = Vec::new();
        for (place, planned) in self.nodes.iter().enumerate() {
            let follows =
                keeps_parameters(&planned.node.op) && planned.is_integer() && planned.has_alternative();
            let Some(input) = planned.node.input(0).filter(|_| follows) else { continue };
            if !self.is_quantized(input) && self.producers[input.index()].is_some() {
                let name = &self.request.graph.value(input).name;
                bans.extend(self.ban(
                    place,
                    reasons::FLOAT_INPUT,
                    format!("it only moves elements, and `{name}` is float here"),
                    None,
                ));
            }
        }
        bans
    }

    /// Operators without weights most of whose operands are float: quantizing those would cost as much as reading all
    /// as float, and what was kept in float for its precision would lose it. The next weights quantize what they read.
    fn followers(&self) -> Vec<Ban> {
        let graph = self.request.graph;
        let size = |id: ValueId| graph.value(id).extents().map_or(0, |extents| extents.iter().product());
        self.weightless()
            .filter_map(|place| {
                let (mut float, mut codes, mut first) = (0usize, 0usize, None);
                for id in operands(graph, self.nodes[place].node) {
                    if graph.value(id).constant.is_some() || self.producers[id.index()].is_none() {
                        continue;
                    }
                    if self.is_quantized(id) {
                        codes += size(id);
                    } else {
                        float += size(id);
                        first = first.or(Some(id));
                    }
                }
                let name = &graph.value(first.filter(|_| float >= codes)?).name;
                self.ban(
                    place,
                    reasons::FLOAT_INPUT,
                    format!("it has no weights whose integers would pay for quantizing `{name}`, which is float here"),
                    None,
                )
            })
            .collect()
    }

    /// Operators without weights that only float operators read: what precedes them writes float as well, and no
    /// precision is lost on the way.
    fn tails(&self) -> Vec<Ban> {
        let graph = self.request.graph;
        self.weightless()
            .filter_map(|place| {
                let node = self.nodes[place].node;
                let mut readers = node.outputs.iter().flat_map(|id| &self.readers[id.index()]).peekable();
                let first = **readers.peek()?;
                // What makes codes of a float input is the node itself.
                let made = operands(graph, node).iter().all(|id| self.producers[id.index()].is_some());
                let float = made
                    && !node.outputs.iter().any(|id| graph.outputs.contains(id))
                    && readers.all(|&reader| !self.nodes[reader].is_integer());
                let name = &self.nodes[first].node.name;
                float.then(|| {
                    self.ban(
                        place,
                        reasons::ISLAND,
                        format!("`{name}`, which reads it, runs in float, and it has no weights whose integers would pay for converting"),
                        None,
                    )
                })?
            })
            .collect()
    }

    /// The integer nodes without weights that a processor runs as well in float, and that nobody pinned.
    fn weightless(&self) -> impl Iterator<Item = usize> {
        (0..self.nodes.len()).filter(|&place| {
            let planned = &self.nodes[place];
            planned.is_integer()
                && !planned.pinned
                && !planned.node.op.has_weights()
                && self.floats_as_well(place)
        })
    }

    /// Operators whose operands cannot have the one scale that they need.
    fn conflicts(&self, classes: &Classes) -> Vec<Ban> {
        classes
            .conflicts
            .iter()
            .filter_map(|&place| {
                self.ban(
                    place,
                    reasons::SHARED_SCALE,
                    "its operands need one scale, and one of them is fixed by the operator that produces it"
                        .into(),
                    Some("move it before the operator with the fixed scale"),
                )
            })
            .collect()
    }

    /// Connected groups of integer nodes without weights: converting there and back costs more than they save.
    fn islands(&self) -> Vec<Ban> {
        let graph = self.request.graph;
        let mut group: Vec<Option<usize>> = vec![None; self.nodes.len()];
        let mut bans = Vec::new();
        for start in 0..self.nodes.len() {
            if group[start].is_some() || !self.nodes[start].is_integer() {
                continue;
            }
            let mut members = vec![start];
            group[start] = Some(start);
            let mut at = 0;
            while at < members.len() {
                let node = self.nodes[members[at]].node;
                let values: Vec<ValueId> =
                    operands(graph, node).into_iter().chain(node.outputs.iter().copied()).collect();
                for value in values {
                    let neighbours = self.producers[value.index()].iter().chain(&self.readers[value.index()]);
                    for &place in neighbours {
                        let reads_data = self.nodes[place].node.outputs.contains(&value)
                            || operands(graph, self.nodes[place].node).contains(&value);
                        if group[place].is_none() && self.nodes[place].is_integer() && reads_data {
                            group[place] = Some(start);
                            members.push(place);
                        }
                    }
                }
                at += 1;
            }
            let worth = members.iter().any(|&place| {
                let planned = &self.nodes[place];
                planned.node.op.has_weights() || planned.pinned || !self.floats_as_well(place)
            });
            if !worth {
                bans.extend(members.into_iter().filter_map(|place| {
                    self.ban(
                        place,
                        reasons::ISLAND,
                        "its neighbours run in float, and it has no weights whose integers would pay for converting".into(),
                        None,
                    )
                }));
            }
        }
        bans
    }

    /// Whether the node would run as well in float.
    fn floats_as_well(&self, place: usize) -> bool {
        let planned = &self.nodes[place];
        let support = planned.candidate().map_or(Support::Unsupported, |candidate| candidate.verdict.support);
        planned.candidates.iter().any(|candidate| {
            candidate.runs()
                && !candidate.precision.has_integer_activations()
                && candidate.verdict.support >= support
        })
    }
}
