//! Plugins of older and newer minor versions are as good as those of this one.

use std::path::{Path, PathBuf};
use std::process::Command;

use fewbit_core::backend::{Backend, CompileOptions};
use fewbit_core::ir::{DType, Tensor};
use fewbit_core::reference::Interpreter;
use fewbit_plugin_host::{Manifest, hash_file};
use fewbit_testing::skip;

use crate::faults::{convolution, picture};
use crate::{load, ways};

/// Builds `minor.c` around the sample; `None` without a compiler.
fn build(name: &str) -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sample = here.join("../../plugins/sample-c");
    let original = Manifest::read(&fewbit_testing::plugin("sample-c")?).unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("minor-{name}"));
    std::fs::create_dir_all(&folder).unwrap();
    let library = folder.join("libminor.so");
    let others = std::fs::read_dir(&sample).unwrap().map(|entry| entry.unwrap().path()).filter(|path| {
        path.extension().is_some_and(|extension| extension == "c") && !path.ends_with("plugin.c")
    });
    let built = Command::new("cc")
        .args(["-std=c99", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-ffp-contract=off", "-o"])
        .arg(&library)
        .arg(format!("-D{name}"))
        .arg(format!("-DPLUGIN_VERSION=\"{}\"", original.version))
        .arg("-I")
        .arg(here.join("../abi/include"))
        .arg("-I")
        .arg(&sample)
        .arg(here.join("tests/minor.c"))
        .args(others)
        .arg("-lm")
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let manifest = folder.join("minor.backend.toml");
    let text = std::fs::read_to_string(original.path()).unwrap();
    let text = text
        .replace(&original.library, "libminor.so")
        .replace(&original.sha256, &hash_file(&library).unwrap());
    std::fs::write(&manifest, text).unwrap();
    Some(manifest)
}

#[test]
fn older_and_newer_minor_versions_load_and_compute() {
    for (name, minor) in [("OLDER", 0), ("NEWER", 7)] {
        let Some(manifest) = build(name) else { skip!("the sample was not built") };
        for (way, options) in ways() {
            let backend = load(&manifest, &options);
            assert_eq!(backend.identity().abi_minor, minor, "{name} {way}");
            let device = backend.devices().unwrap().swap_remove(0);
            let graph = convolution();
            let executable = device.compile(&graph, &CompileOptions::threads(1)).unwrap();
            // An entry that an older plugin does not have is one that it does not answer.
            assert_eq!(executable.memory().weights == 0, name == "OLDER", "{way}");
            let input = picture(&[1, 5, 6, 7]);
            let mut outputs = vec![Tensor::zeros(DType::I8, &[1, 7, 6, 7]).unwrap()];
            executable.context().unwrap().run(std::slice::from_ref(&input), &mut outputs).unwrap();
            assert_eq!(outputs, Interpreter::new(&graph).unwrap().run(&[input]).unwrap(), "{name} {way}");
        }
    }
}
