use super::*;

fn good() -> String {
    format!(
        "manifest = 1\nid = \"com.example.npu\"\nvendor = \"Example\"\nversion = \"0.4.1\"\nlibrary = \"libnpu.so\"\n\
         sha256 = \"{}\"\n\n[abi]\nmajor = 1\nminor = 0\n",
        "0".repeat(64)
    )
}

fn read(text: &str) -> Result<Manifest> {
    let folder = std::env::temp_dir().join(format!(
        "fewbit-manifest-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("npu.backend.toml");
    std::fs::write(&path, text).unwrap();
    let read = Manifest::read(&path);
    std::fs::remove_dir_all(&folder).unwrap();
    read
}

#[test]
fn a_short_manifest_has_defaults() {
    let manifest = read(&good()).unwrap();
    assert_eq!(manifest.run.isolation, Isolation::Preferred);
    assert!(manifest.library_path().ends_with("libnpu.so"));
    manifest.check_platform().unwrap();
}

#[test]
fn what_a_manifest_must_not_say_is_refused_with_its_key() {
    for (from, to, expected) in [
        ("manifest = 1", "manifest = 2", "expected `manifest = 1`, found 2"),
        ("com.example.npu", "npu", "expected an id such as com.example.npu"),
        ("com.example.npu", "com.Example.npu", "expected an id such as com.example.npu"),
        (
            "\"libnpu.so\"",
            "\"../libnpu.so\"",
            "expected the name of a file beside the manifest, found `../libnpu.so`",
        ),
        ("\"libnpu.so\"", "\"/usr/lib/libnpu.so\"", "expected the name of a file beside the manifest"),
        ("\"libnpu.so\"", "\"..\"", "expected the name of a file beside the manifest"),
        ("\"libnpu.so\"", "\"\"", "expected the name of a file beside the manifest"),
        ("\"libnpu.so\"", "'a\\b.so'", "expected the name of a file beside the manifest"),
        ("0000", "XYZ0", "expected a sha256 of 64 lower-case hexadecimal digits"),
        ("vendor = \"Example\"", "vendor = \" \"", "expected a vendor of 1 to 128 characters"),
        ("vendor = \"Example\"", "vendor = \"Example\"\nplanet = 3", "unknown field `planet`"),
        ("minor = 0", "minor = -1", "invalid value"),
        ("minor = 0", "minor = 0\n[capabilities]\nsnapshot = \"../x.json\"", "found `../x.json`"),
    ] {
        let text = good().replacen(from, to, 1);
        assert_ne!(text, good());
        let error = read(&text).unwrap_err();
        assert_eq!(error.kind(), PluginErrorKind::Manifest, "{error}");
        assert!(error.message().contains(expected), "{error}");
        assert!(error.place().is_some_and(|place| place.contains("npu.backend.toml")));
    }
    let long = read(&format!("{}# {}", good(), "x".repeat(2 << 20))).unwrap_err();
    assert!(long.message().contains("expected at most 1048576 bytes"), "{long}");
    let line = read(&good().replace("version = \"0.4.1\"", "version = 4")).unwrap_err();
    assert!(line.place().is_some_and(|place| place.ends_with("npu.backend.toml:4")), "{line}");
}

#[test]
fn another_machine_or_abi_is_refused_before_anything_is_opened() {
    for (addition, kind, expected) in [
        ("[platform]\nos = [\"plan9\"]", PluginErrorKind::Platform, "expected the system plan9, found"),
        ("[platform]\narch = [\"z80\"]", PluginErrorKind::Platform, "expected the architecture z80, found"),
        (
            "[platform]\ncpu_features = [\"telepathy\"]",
            PluginErrorKind::Platform,
            "a processor with telepathy",
        ),
        ("[platform]\nlibc = \"glibc>=99.1\"", PluginErrorKind::Platform, "expected glibc>=99.1, found"),
        (
            "[platform]\nlibc = \"glibc\"",
            PluginErrorKind::Platform,
            "expected a C library such as glibc>=2.28",
        ),
    ] {
        let error = read(&format!("{}\n{addition}\n", good())).unwrap().check_platform().unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.message().contains(expected), "{error}");
    }
    for (from, to, expected) in [
        ("major = 1", "major = 2", "expected a plugin of ABI 1, found one of 2.0"),
        ("minor = 0", "minor = 0\nneeds_host_minor = 77", "expected a program of ABI 1.77 or newer"),
    ] {
        let error = read(&good().replace(from, to)).unwrap().check_platform().unwrap_err();
        assert_eq!(error.kind(), PluginErrorKind::Abi);
        assert!(error.message().contains(expected), "{error}");
    }
    read(&format!("{}\n[platform]\nlibc = \"glibc>=2.1\"\n", good())).unwrap().check_platform().unwrap();
}
