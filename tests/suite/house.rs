//! The structure of `src/`: imports go one way, and files stay small.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of the crate, each after all that it may import.
const ORDER: &[&str] = &[
    "simd",
    "math",
    "mask",
    "broadcast",
    "normalizer",
    "backend",
    "error",
    "dispatch",
    "options",
    "source",
    "rows",
    "columns",
    "checks",
    "driver",
    "softmax",
    "parallel",
    "reference",
    "stream",
    "functions",
    "gradient",
    "loss",
    "top_k",
    "sampler",
    "half",
];

fn rank(module: &str) -> usize {
    let found = ORDER.iter().position(|other| *other == module);
    found.unwrap_or_else(|| panic!("{module} is not in the order of modules"))
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The files in a directory, and all below it.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The code of a file without comments and unit tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let tests = ["mod tests", "pub(super) mod tests"].map(|tests| format!("#[cfg(test)]\n{tests}"));
    let end = tests.iter().filter_map(|tests| text.find(tests)).min();
    let text = &text[..end.unwrap_or(text.len())];
    let lines = text.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// `src/rows/matrix.rs` belongs to `rows`, `src/driver.rs` to `driver`.
fn module(path: &Path) -> String {
    let first = path.strip_prefix(source()).unwrap().components().next();
    let name = first.unwrap().as_os_str().to_str().unwrap();
    name.trim_end_matches(".rs").to_owned()
}

/// The names that follow `prefix` in a text.
fn names_after(text: &str, prefix: &str) -> BTreeSet<String> {
    let is_of_name = |c: char| c.is_alphanumeric() || c == '_';
    let starts = text.match_indices(prefix);
    starts
        .map(|(start, _)| &text[start + prefix.len()..])
        .map(|rest| rest.split(|c| !is_of_name(c)).next().unwrap().to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn imports_between_modules_go_one_way() {
    let mut modules = BTreeSet::new();
    let mut wrong = Vec::new();
    for path in files(&source()) {
        let module = module(&path);
        if module == "lib" {
            continue;
        }
        modules.insert(module.clone());
        for imported in names_after(&code(&path), "crate::") {
            if imported != module && rank(&imported) >= rank(&module) {
                wrong.push(format!("{} imports {imported}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let expected = ORDER.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(modules, expected, "the order of modules is not that of src");
}

#[test]
fn files_of_a_room_import_each_other_one_way() {
    for directory in [
        "rows", "columns", "math", "source", "loss", "top_k", "sampler",
    ] {
        let mut imports = Vec::new();
        for path in files(&source().join(directory)) {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if name != "mod" {
                imports.push((name, names_after(&code(&path), "super::")));
            }
        }
        // What imports nothing that is left can be taken away. A circle stays.
        while !imports.is_empty() {
            let left: BTreeSet<String> = imports.iter().map(|(name, _)| name.clone()).collect();
            let before = imports.len();
            imports.retain(|(_, imported)| imported.iter().any(|name| left.contains(name)));
            assert!(imports.len() < before, "{directory} has a circle: {left:?}");
        }
    }
}

#[test]
fn files_are_short() {
    for path in files(&source()) {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 600, "{} has {lines} lines", path.display());
    }
}

/// An algorithm never names an instruction set.
#[test]
fn only_simd_and_dispatch_name_instruction_sets() {
    for path in files(&source()) {
        let module = module(&path);
        if ["simd", "dispatch", "backend"].contains(&module.as_str()) {
            continue;
        }
        let code = code(&path);
        for name in [
            "Avx",
            "avx",
            "Neon",
            "neon",
            "target_arch",
            "target_feature",
            "unsafe ",
        ] {
            assert!(!code.contains(name), "{} names {name}", path.display());
        }
    }
}
