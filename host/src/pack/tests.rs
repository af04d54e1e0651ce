use std::collections::BTreeSet;

use super::*;

fn filter() -> Vec<u8> {
    let text = r#"(module (memory (export "memory") 1)
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) (i32.const 1024))
        (@custom "switchover.build" "{\"name\":\"demo\",\"version\":\"1.2.0\",\"commit\":\"abc\"}"))"#;
    wat::parse_str(text).expect("a module")
}

fn options(variant: Variant) -> Options {
    Options {
        variant,
        ..Options::default()
    }
}

/// What is in a layout, by name.
fn contents(image: &Image) -> BTreeMap<PathBuf, Vec<u8>> {
    let directory = tempfile::tempdir().expect("a directory");
    let layout = directory.path().join("deep/image");
    image.write(&layout).expect("written");
    let mut found = BTreeMap::new();
    for folder in ["", "blobs/sha256"] {
        for entry in std::fs::read_dir(layout.join(folder)).expect("listed") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                let name = path.strip_prefix(&layout).expect("within").to_owned();
                found.insert(name, std::fs::read(&path).expect("read"));
            }
        }
    }
    found
}

#[test]
fn the_same_filter_gives_the_same_bytes() {
    for variant in [Variant::Compat, Variant::Oci] {
        let pack = || pack(&filter(), &options(variant)).expect("packed");
        // Maps without an order would give several within a few tries.
        let digests: BTreeSet<String> = (0..16).map(|_| pack().digest).collect();
        assert_eq!(digests.len(), 1, "{digests:?}");
        assert_eq!(contents(&pack()), contents(&pack()));
    }
}

#[test]
fn what_the_filter_says_of_itself_is_in_the_annotations() {
    let image = pack(&filter(), &Options::default()).expect("packed");
    assert_eq!(image.tag, "1.2.0");
    let annotations = &image.annotations;
    assert_eq!(annotations[ANNOTATION_REVISION], "abc");
    assert_eq!(annotations[ANNOTATION_FILTER], image.filter_sha256);
    assert_eq!(annotations[ANNOTATION_VARIANT], "compat");
    let told = Options {
        version: Some("2".into()),
        revision: Some("def".into()),
        tag: Some("next".into()),
        variant: Variant::Oci,
        ..Options::default()
    };
    let image = pack(&filter(), &told).expect("packed");
    assert_eq!(image.tag, "next");
    assert_eq!(image.annotations[ANNOTATION_VERSION], "2");
    assert_eq!(image.annotations[ANNOTATION_REVISION], "def");
    assert_eq!(image.annotations.get(ANNOTATION_VARIANT), None);
}

#[test]
fn what_envoy_would_not_load_is_refused_with_all_reasons() {
    let reasons = |bytes: &[u8]| match pack(bytes, &Options::default()) {
        Err(Error::NotAFilter(reasons)) => reasons.join("; "),
        other => panic!("{other:?}"),
    };
    assert!(reasons(b"hello").contains("not WebAssembly"));
    assert!(reasons(&filter()[..40]).contains("cut off"));
    let plain = wat::parse_str("(module)").expect("a module");
    let told = reasons(&plain);
    assert!(
        told.contains("no ABI marker") && told.contains("malloc"),
        "{told}"
    );
}

#[test]
fn tags_are_what_registries_take() {
    for good in ["1.2.0", "_", "latest", &"x".repeat(LONGEST_TAG)] {
        assert!(is_tag(good), "{good}");
    }
    for bad in [
        "",
        ".1",
        "-1",
        "1+2",
        "a/b",
        "ä",
        &"x".repeat(LONGEST_TAG + 1),
    ] {
        assert!(!is_tag(bad), "{bad}");
    }
    let options = Options {
        version: Some("1.0+local".into()),
        ..Options::default()
    };
    assert!(matches!(pack(&filter(), &options), Err(Error::Tag(_))));
}

#[test]
fn a_directory_that_holds_something_is_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let image = pack(&filter(), &Options::default()).expect("packed");
    image.write(directory.path()).expect("it was empty");
    let again = image.write(directory.path());
    assert!(matches!(again, Err(Error::NotEmpty(_))), "{again:?}");
    let file = directory.path().join("oci-layout");
    assert!(matches!(image.write(&file), Err(Error::Write { .. })));
}
