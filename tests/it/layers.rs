//! Dependencies between modules point down. `ARCHITECTURE.md` has the same table.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Modules by layer; a module uses only smaller layers, and modules of one layer do not use each other.
const LAYERS: &[&[&str]] = &[
    &["model"],
    &["privacy", "attribution", "agents"],
    &["links"],
    &["store"],
    &["context", "destinations", "sandbox", "tracking"],
    &["delivery"],
    &["pipeline"],
    &["web"],
    &["intake", "capture", "admin", "telemetry"],
    &["config"],
    &["app"],
    &["cli"],
];

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("reads").map(|entry| entry.expect("reads").path()) {
        if entry.is_dir() {
            sources(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
}

/// The first name behind every `crate::` and in every group of `use crate::{…}`.
fn used(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let (mut depth, mut name, mut first) = (0, String::new(), true);
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        names.push(std::mem::take(&mut name));
                        first = true;
                    }
                    ':' if depth == 0 => first = false,
                    c if depth == 0 && first && (c.is_alphanumeric() || c == '_') => name.push(c),
                    _ => {}
                }
            }
            names.push(name);
        } else {
            names.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[test]
fn no_module_uses_one_that_is_not_below_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let (mut wrong, mut arrows) = (Vec::new(), 0);
    for file in files {
        let relative = file.strip_prefix(&root).expect("below the root");
        let first = relative.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
        let module = first.trim_end_matches(".rs");
        if matches!(module, "lib" | "main") {
            continue;
        }
        let layer =
            layer_of(module).unwrap_or_else(|| panic!("{module} has no layer; add it here and to ARCHITECTURE.md"));
        let text = fs::read_to_string(&file).expect("reads");
        // Tests may look down on anything and up at nothing; doc lines are no code.
        let code: String =
            text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        for name in used(&code).into_iter().filter(|name| name != module) {
            let Some(other) = layer_of(&name) else { continue };
            arrows += 1;
            if other >= layer {
                wrong.push(format!("{}: {module} uses {name}", relative.display()));
            }
        }
    }
    assert!(arrows > 100, "only {arrows} arrows were found: the test reads the sources wrongly");
    assert!(wrong.is_empty(), "arrows that do not point down:\n{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_arrows_sees_every_form() {
    let text = "use crate::{\n    model::{A, B},\n    store::{self, C},\n    web,\n};\nlet x = crate::cli::run();";
    assert_eq!(used(text), ["model", "store", "web", "cli"]);
}

#[test]
fn every_folder_of_destinations_is_in_the_registry() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/destinations");
    let folders = fs::read_dir(root).expect("reads").filter(|entry| entry.as_ref().expect("reads").path().is_dir());
    assert_eq!(folders.count(), conversion_relay::destinations::REGISTRY.len(), "a folder has no line in REGISTRY");
}
