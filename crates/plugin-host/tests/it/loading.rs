//! From a manifest to devices.

use fewbit_core::backend::{Availability, Backend};
use fewbit_plugin_host::{Check, Manifest, Observed, PluginErrorKind, observe};
use fewbit_testing::skip;

use crate::{isolated, load, ways};

#[test]
fn the_sample_loads_both_ways_and_says_who_it_is() {
    let Some(manifest) = fewbit_testing::plugin("sample-c") else { skip!("the sample was not built") };
    for (way, options) in ways() {
        let backend = load(&manifest, &options);
        assert_eq!(backend.name(), "org.fewbit.sample-c", "{way}");
        assert_eq!(backend.is_isolated(), way == "isolated");
        assert_eq!(backend.availability(), Availability::Present);
        let devices = backend.devices().unwrap();
        assert_eq!(devices.len(), 1);
        assert_eq!(devices[0].info().id, "sample-c");
        devices[0].capabilities().unwrap().validate().unwrap();
    }
}

#[test]
fn a_library_that_was_changed_is_refused_unless_it_is_being_developed() {
    let Some(manifest) = fewbit_testing::plugin("sample-c") else { skip!("the sample was not built") };
    let folder = std::env::temp_dir().join(format!("fewbit-hash-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let original = Manifest::read(&manifest).unwrap();
    let text = std::fs::read_to_string(&manifest).unwrap().replace(&original.sha256, &"0".repeat(64));
    let copy = folder.join("sample-c.backend.toml");
    std::fs::write(&copy, text).unwrap();
    std::fs::copy(original.library_path(), folder.join(&original.library)).unwrap();
    let changed = Manifest::read(&copy).unwrap();
    let refused = fewbit_plugin_host::PluginBackend::load(&changed, &isolated()).err().unwrap();
    assert_eq!(refused.kind(), PluginErrorKind::Hash);
    assert!(refused.message().contains(&original.sha256), "{refused}");
    let mut trusting = isolated();
    trusting.trust.skip_hash = true;
    fewbit_plugin_host::PluginBackend::load(&changed, &trusting).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn observations_of_the_sample_pass() {
    let Some(path) = fewbit_testing::plugin("sample-c") else { skip!("the sample was not built") };
    let manifest = Manifest::read(&path).unwrap();
    for check in [
        Check::QueryIsPure,
        Check::UnknownExtension,
        Check::FreeNothing,
        Check::StableCapabilities,
        Check::NoSuchDevice,
        Check::DeviceTwice,
    ] {
        assert_eq!(observe(&manifest, &isolated(), check, None).unwrap(), Observed::Passed, "{check:?}");
    }
}
