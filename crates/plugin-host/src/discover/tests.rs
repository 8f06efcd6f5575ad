use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("fewbit-discover-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn manifest(&self, file: &str, id: &str) -> PathBuf {
        let path = self.0.join(file);
        let text = format!(
            "manifest = 1\nid = \"{id}\"\nvendor = \"V\"\nversion = \"1\"\nlibrary = \"l.so\"\nsha256 = \"{}\"\n\
             [abi]\nmajor = 1\nminor = 0\n",
            "a".repeat(64)
        );
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn one_bad_manifest_does_not_hide_the_others() {
    let folder = Folder::new("bad");
    folder.manifest("b.backend.toml", "org.b");
    folder.manifest("a.backend.toml", "org.a");
    std::fs::write(folder.0.join("broken.backend.toml"), [0xff, 0xfe]).unwrap();
    std::fs::create_dir(folder.0.join("folder.backend.toml")).unwrap();
    std::fs::write(folder.0.join("README.md"), "not a manifest").unwrap();
    let found = Search::only(vec![], vec![folder.0.clone(), folder.0.join("missing")]).run();
    let ids: Vec<&str> = found.manifests.iter().map(|manifest| manifest.id.as_str()).collect();
    assert_eq!(ids, ["org.a", "org.b"]);
    let problems: Vec<&str> = found.problems.iter().map(PluginError::message).collect();
    assert_eq!(problems, ["expected UTF-8", "expected a file"]);
}

#[test]
fn two_manifests_of_one_id_are_both_refused_and_both_named() {
    let folder = Folder::new("double");
    folder.manifest("a.backend.toml", "org.a");
    folder.manifest("b.backend.toml", "org.a");
    folder.manifest("c.backend.toml", "org.c");
    let found = Search::only(vec![], vec![folder.0.clone()]).run();
    assert_eq!(found.manifests.len(), 1);
    assert_eq!(found.problems.len(), 2);
    for (problem, other) in found.problems.iter().zip(["b.backend.toml", "a.backend.toml"]) {
        assert_eq!(problem.kind(), PluginErrorKind::Duplicate);
        assert!(problem.message().contains(other), "{problem}");
    }
}

#[test]
fn one_file_reached_by_two_ways_is_one_plugin() {
    let folder = Folder::new("same");
    let path = folder.manifest("a.backend.toml", "org.a");
    std::os::unix::fs::symlink(&path, folder.0.join("link.backend.toml")).unwrap();
    let found = Search::only(vec![path], vec![folder.0.clone()]).run();
    assert_eq!((found.manifests.len(), found.problems.len()), (1, 0));
}

#[test]
fn relative_folders_of_the_environment_are_passed_over() {
    let folders = listed(Some(OsStr::new("plugins:/opt/plugins::./x")));
    assert_eq!(folders, [PathBuf::from("/opt/plugins")]);
}
