use fewbit_core::capability::NodeQuery;
use fewbit_core::plan::Precision;
use fewbit_core::{pass, target};
use fewbit_onnx::{ImportOptions, open};
use indexmap::IndexMap;
fn main() {
    let mut args = std::env::args().skip(1);
    let model = args.next().unwrap();
    let names: Vec<String> = args.collect();
    let options = ImportOptions::fixed(IndexMap::new(), Some(1));
    let mut graph = open(std::path::Path::new(&model), &options).unwrap();
    pass::optimize(&mut graph, &mut |_, _, _| {}).unwrap();
    let mut kinds: IndexMap<String, usize> = IndexMap::new();
    for (_, n) in graph.nodes() {
        *kinds.entry(n.op.kind().as_str().to_owned()).or_default() += 1;
    }
    println!("{kinds:?}");
    for name in target::names().filter(|n| names.is_empty() || names.iter().any(|m| m == n)) {
        let t = target::builtin(name).unwrap();
        for p in &t.processors {
            for precision in Precision::ALL {
                let (mut native, mut emulated, mut refused) = (0, 0, 0);
                let mut lines: IndexMap<String, usize> = IndexMap::new();
                for (_, node) in graph.nodes() {
                    let v = p.judge(&NodeQuery::new(&graph, node, precision));
                    match v.support {
                        fewbit_core::capability::Support::Native => native += 1,
                        fewbit_core::capability::Support::Emulated => emulated += 1,
                        fewbit_core::capability::Support::Unsupported => refused += 1,
                    }
                    for r in v.reasons {
                        *lines
                            .entry(format!(
                                "{} {} {}",
                                node.op.kind().as_str(),
                                r.code,
                                r.message.chars().take(150).collect::<String>()
                            ))
                            .or_default() += 1;
                    }
                }
                if native + emulated == 0 {
                    continue;
                }
                println!(
                    "{name} {} {precision}: native {native} emulated {emulated} refused {refused}",
                    p.id
                );
                for (l, c) in lines.iter().take(8) {
                    println!("    {c}x {l}");
                }
            }
        }
    }
}
