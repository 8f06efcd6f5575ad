use fewbit_testing::Random;
use proptest::prelude::*;

use super::*;

fn good() -> String {
    format!(
        "manifest = 1\nid = \"com.example.npu\"\nvendor = \"Example\"\nversion = \"0.4.1\"\nlibrary = \"libnpu.so\"\n\
         sha256 = \"{}\"\n\n[abi]\nmajor = 1\nminor = 0\n",
        "0".repeat(64)
    )
}

fn read(text: &(impl AsRef<[u8]> + ?Sized)) -> Result<Manifest> {
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

/// A manifest is one that names files beside it, everything else an error of the manifest at its place.
fn manifest_or_error(text: &[u8]) {
    match read(text) {
        Ok(manifest) => {
            let folder = manifest.path().parent();
            assert_eq!(manifest.library_path().parent(), folder);
            assert!(manifest.snapshot_path().is_none_or(|path| path.parent() == folder));
            // What it says of platforms is judged without a panic too.
            let _ = manifest.check_platform();
            assert!(manifest.check_hash().is_err(), "there is no library");
        }
        Err(error) => {
            assert_eq!(error.kind(), PluginErrorKind::Manifest, "{error}");
            assert!(error.place().is_some_and(|place| place.contains("npu.backend.toml")), "{error}");
            assert!(!error.message().contains('\n'), "{error}");
        }
    }
}

/// A manifest with every key, some of its lines said twice, left out or exchanged, some values and bytes replaced.
fn changed(seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let whole = format!(
        "{}needs_host_minor = 0\n[platform]\nos = [\"linux\"]\narch = [\"x86_64\"]\nlibc = \"glibc>=2.28\"\n\
         cpu_features = [\"sse2\"]\n[run]\nisolation = \"required\"\nthreads = \"own\"\n[capabilities]\n\
         snapshot = \"npu.json\"\n",
        good()
    );
    let mut lines: Vec<Vec<u8>> = whole.lines().map(|line| line.as_bytes().to_vec()).collect();
    for _ in 0..=random.below(3) {
        let (at, other) = (random.below(lines.len()), random.below(lines.len()));
        match random.below(6) {
            0 => lines.swap(at, other),
            1 => lines[at] = lines[other].clone(),
            2 => lines[at].clear(),
            3 => {
                let values = [
                    "-1",
                    "1e400",
                    "nan",
                    "99999999999999999999",
                    "[]",
                    "[[1], {}]",
                    "{}",
                    "''",
                    "\"\\u0000\"",
                    "'../../x'",
                    "1979-05-27",
                    "'''",
                    "'glibc>=99999999999999999999.1'",
                    "['']",
                ];
                let key = lines[at].iter().take_while(|&&byte| byte != b'=').count();
                lines[at].truncate(key);
                lines[at].extend_from_slice(format!("= {}", random.choose(&values)).as_bytes());
            }
            _ => {
                let place = random.below(lines[at].len() + 1);
                lines[at].insert(place, random.below(256) as u8);
            }
        }
    }
    lines.join(&b'\n')
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn arbitrary_files_are_a_manifest_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        manifest_or_error(&bytes);
    }

    #[test]
    fn changed_manifests_are_a_manifest_or_an_error(seed in any::<u64>()) {
        manifest_or_error(&changed(seed));
    }
}

#[test]
fn deep_and_wide_manifests_are_errors() {
    for deep in ["x = [", "x = {a=", "a.", "[a."] {
        manifest_or_error(deep.repeat(10_000).as_bytes());
    }
    let nested = format!("{}x = {}{}", good(), "[".repeat(200_000), "]".repeat(200_000));
    manifest_or_error(nested.as_bytes());
    let dotted = format!("{}{} = 1", good(), vec!["a"; 200_000].join("."));
    manifest_or_error(dotted.as_bytes());
}
