//! Arrows point down only: reads `src/**` and fails, with file and line, on an import that the table of layers does not
//! allow, and on what a library must not do: print, exit, read the environment, be unsafe.
//!
//! Code behind `#[cfg(test)]` may use anything. Names are resolved by their paths alone (`crate::`, `super::`, `self::`,
//! in `use` trees and in expressions), which is enough as long as a module is reached through a path that names it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// One row: a module of the library and the modules that it may name. A module may always name itself and what it stands in
/// (a verb may name `verbs`). The rows stand in the order of the layers, and a row may list only modules of rows above it, so the table itself cannot hold a cycle.
const LAYERS: &[(&str, &[&str])] = &[
    // L0: knows nothing of RDB or RESP.
    ("error", &[]),
    ("units", &[]),
    ("time", &[]),
    ("pace", &[]),
    ("mapped", &["error", "units"]),
    ("spool", &["error", "units", "mapped"]),
    ("fingerprint", &["error", "units", "mapped", "spool"]),
    // L1: bytes of the two sides. They do not know each other.
    ("wire", &["error", "units"]),
    ("resp", &["error", "units", "spool"]),
    ("input", &["error", "units", "time", "mapped", "spool"]),
    ("name_room", &["error", "spool", "wire"]),
    ("transform", &["error", "time", "wire", "name_room"]),
    // L2: the container.
    ("snapshot", &["error", "units", "time", "wire"]),
    ("payload", &["error", "units", "wire", "snapshot"]),
    (
        "survey",
        &[
            "error",
            "units",
            "time",
            "wire",
            "transform",
            "snapshot",
            "payload",
        ],
    ),
    // L3: what stands inside a value.
    (
        "value",
        &[
            "error",
            "units",
            "spool",
            "fingerprint",
            "wire",
            "transform",
            "snapshot",
        ],
    ),
    ("json", &["error", "units", "wire", "snapshot", "value"]),
    (
        "reencode",
        &[
            "error",
            "units",
            "spool",
            "wire",
            "transform",
            "snapshot",
            "value",
        ],
    ),
    // L4a: which entries, what became of them, how each one goes, and the other end.
    (
        "select",
        &[
            "error",
            "units",
            "time",
            "spool",
            "fingerprint",
            "name_room",
            "wire",
            "snapshot",
            "value",
        ],
    ),
    (
        "duplicates",
        &["error", "fingerprint", "wire", "transform", "snapshot"],
    ),
    ("outcome", &["error", "units", "wire", "snapshot"]),
    (
        "journal",
        &[
            "error", "units", "time", "wire", "snapshot", "value", "json", "outcome",
        ],
    ),
    (
        "replay",
        &[
            "error",
            "units",
            "time",
            "wire",
            "name_room",
            "transform",
            "resp",
            "snapshot",
            "payload",
            "value",
            "reencode",
            "outcome",
        ],
    ),
    (
        "target",
        &[
            "error", "units", "time", "spool", "wire", "resp", "snapshot", "payload", "value",
            "reencode", "outcome", "replay",
        ],
    ),
    (
        "meaning",
        &[
            "error",
            "units",
            "spool",
            "fingerprint",
            "name_room",
            "wire",
            "transform",
            "resp",
            "snapshot",
            "payload",
            "value",
        ],
    ),
    // L4: the verbs. What they share stands in `verbs` itself; no verb is in another one's list.
    ("verbs", BELOW_VERBS),
    ("verbs::check", BELOW_VERBS),
    ("verbs::info", BELOW_VERBS),
    ("verbs::keys", BELOW_VERBS),
    ("verbs::get", BELOW_VERBS),
    ("verbs::export", BELOW_VERBS),
    ("verbs::load", BELOW_VERBS),
    ("verbs::plan", BELOW_VERBS),
    ("verbs::compare", BELOW_VERBS),
];

const BELOW_VERBS: &[&str] = &[
    "error",
    "units",
    "time",
    "pace",
    "mapped",
    "spool",
    "fingerprint",
    "name_room",
    "wire",
    "transform",
    "resp",
    "input",
    "snapshot",
    "payload",
    "survey",
    "json",
    "value",
    "reencode",
    "duplicates",
    "select",
    "outcome",
    "journal",
    "replay",
    "target",
    "meaning",
];

/// The only files with `unsafe`: the map call, and the call of a function that is compiled for some processors only.
const UNSAFE_FILES: &[&str] = &["mapped.rs", "wire/crc64/fold.rs"];

/// What the library must not name, by path. (Macros are listed in [`judge_words`].)
const FORBIDDEN_PATHS: &[(&str, &str)] = &[
    ("std::process::exit", "the library never exits"),
    ("std::process::abort", "the library never exits"),
    ("std::env", "the library does not read the environment"),
    ("std::io::stdout", "the library does not print"),
    ("std::io::stderr", "the library does not print"),
    ("std::io::Stdout", "the library does not print"),
    ("std::io::Stderr", "the library does not print"),
];

#[test]
fn every_import_of_the_library_points_down() {
    let report = judge(&read_sources());
    assert!(report.faults.is_empty(), "{}", report.faults.join("\n"));
    // Against a test that looks at nothing.
    assert!(report.files >= 35, "only {} files were read", report.files);
    assert!(report.arrows.len() >= 15, "only {:?}", report.arrows);
    let known: BTreeSet<&str> = LAYERS.iter().map(|(module, _)| *module).collect();
    let lib = read_sources()
        .into_iter()
        .find(|s| s.path == "lib.rs")
        .expect("a lib.rs");
    let declared = declared_modules(&Tokens::of(&lib.text));
    for module in &declared {
        assert!(
            known.contains(module.as_str()),
            "src/lib.rs declares `{module}`, which no layer has"
        );
    }
}

#[test]
fn a_row_lists_only_rows_above_it() {
    let mut above = BTreeSet::new();
    for (module, may_use) in LAYERS {
        for used in *may_use {
            assert!(
                above.contains(used),
                "{module} may use {used}, which stands below it"
            );
        }
        assert!(above.insert(*module), "{module} stands twice");
    }
}

/// Every form that an upward import can have is found, and the downward twin of each is not.
#[test]
fn a_planted_upward_import_is_found_in_every_form() {
    let planted: &[(&str, &str, &str)] = &[
        (
            "wire/cursor.rs",
            "use crate::snapshot::Entry;",
            "wire may not use snapshot",
        ),
        (
            "wire/cursor.rs",
            "use crate::{error::Error, snapshot::{self, Entry}};",
            "wire may not use snapshot",
        ),
        (
            "wire/cursor.rs",
            "use super::super::snapshot::Entry;",
            "wire may not use snapshot",
        ),
        (
            "wire/mod.rs",
            "use super::snapshot as quiet;",
            "wire may not use snapshot",
        ),
        (
            "wire/mod.rs",
            "fn f(e: &crate::snapshot::Entry<'_>) {}",
            "wire may not use snapshot",
        ),
        (
            "wire/mod.rs",
            "mod inner { use super::super::resp::Reply; }",
            "wire may not use resp",
        ),
        (
            "wire/mod.rs",
            "fn f() { let c = '\\''; crate::resp::f(\"}\") }",
            "wire may not use resp",
        ),
        (
            "resp/reply.rs",
            "pub use crate::wire::Str;",
            "resp may not use wire",
        ),
        (
            "error.rs",
            "use crate::units::ByteCount;",
            "error may not use units",
        ),
        (
            "snapshot/reader.rs",
            "use crate::value;",
            "snapshot may not use value",
        ),
        (
            "verbs/check.rs",
            "use crate::verbs::info::Info;",
            "verbs::check may not use verbs::info",
        ),
        (
            "verbs/check/walk.rs",
            "use super::super::info::Info;",
            "verbs::check may not use verbs::info",
        ),
        (
            "verbs/mod.rs",
            "use self::load::run;",
            "verbs may not use verbs::load",
        ),
        (
            "wire/cursor.rs",
            "use crate::*;",
            "a glob import of the whole crate",
        ),
        (
            "wire/cursor.rs",
            "use crate::Entry;",
            "wire may not use snapshot",
        ),
        (
            "wire/cursor.rs",
            "use crate::novel::X;",
            "`novel` is in no layer",
        ),
        (
            "cli/mod.rs",
            "use crate::snapshot::Entry;",
            "the binary reaches the library only as `rdbridge::`",
        ),
        (
            "wire/a.rs",
            "fn f() { println!(\"x\") }",
            "the library does not print",
        ),
        (
            "wire/a.rs",
            "fn f() { eprint!(\"x\") }",
            "the library does not print",
        ),
        (
            "wire/a.rs",
            "use std::process; fn f() { process::exit(3) }",
            "the library never exits",
        ),
        (
            "wire/a.rs",
            "fn f() { std::process::exit(3) }",
            "the library never exits",
        ),
        (
            "wire/a.rs",
            "use std::{env, fs};",
            "the library does not read the environment",
        ),
        (
            "wire/a.rs",
            "use std::io; fn f() { io::stderr() }",
            "the library does not print",
        ),
        ("wire/a.rs", "fn f() { unsafe { g() } }", "unsafe outside"),
        ("wire/a.rs", "#[allow(dead_code)] fn f() {}", "allow"),
        ("wire/a.rs", "#![cfg_attr(test, allow(dead_code))]", "allow"),
    ];
    for (path, text, expected) in planted {
        let report = judge(&[lib_with_reexports(), source(path, &format!("\n\n{text}\n"))]);
        assert!(
            report
                .faults
                .iter()
                .any(|f| f.contains(expected) && f.contains(&format!("src/{path}:3: "))),
            "{path}: {text}: {:?}",
            report.faults
        );
    }
    let harmless: &[(&str, &str)] = &[
        (
            "wire/cursor.rs",
            "use crate::error::{Error, Result}; use super::length;",
        ),
        (
            "wire/cursor.rs",
            "//! [`crate::snapshot`] and crate::snapshot::Entry\nfn f() { \"crate::snapshot::x\"; }",
        ),
        (
            "wire/cursor.rs",
            "/* crate::snapshot::x /* nested */ unsafe */ fn f() { r#\"println!(unsafe)\"#; }",
        ),
        (
            "wire/cursor.rs",
            "#[cfg(test)] mod tests { use crate::snapshot::X; fn f() { println!(\"}\") } }",
        ),
        ("wire/cursor.rs", "#[cfg(test)]\nuse crate::snapshot::X;\n"),
        ("wire/mod.rs", "pub(crate) mod x; pub(super) fn f() {}"),
        (
            "wire/mod.rs",
            "mod inner { use super::super::error::Error; use super::cursor; }",
        ),
        ("wire/cursor.rs", "use crate::Error;"),
        (
            "verbs/check.rs",
            "use super::Findings; use crate::{verbs::Shared, target};",
        ),
        (
            "cli/mod.rs",
            "use crate::cli::args; use rdbridge::snapshot::Entry; fn f() { println!(\"x\"); }",
        ),
        (
            "main.rs",
            "mod cli; fn main() { std::process::exit(crate::cli::run()) }",
        ),
        ("mapped.rs", "fn f() { unsafe { g() } }"),
        (
            "wire/a.rs",
            "fn f() -> &'static str { env!(\"CARGO_PKG_VERSION\") }",
        ),
    ];
    for (path, text) in harmless {
        let report = judge(&[lib_with_reexports(), source(path, text)]);
        assert!(
            report.faults.is_empty(),
            "{path}: {text}: {:?}",
            report.faults
        );
    }
    let report = judge(&[source("novel/mod.rs", "use crate::error::Error;")]);
    assert_eq!(
        report.faults,
        ["src/novel/mod.rs:1: `novel` is in no layer of this test's table"]
    );
    // A test module in a file of its own.
    let report = judge(&[
        source("resp/mod.rs", "#[cfg(test)]\nmod tests;"),
        source(
            "resp/tests.rs",
            "use crate::snapshot::X; fn f() { println!() }",
        ),
        source("resp/tests/more.rs", "use crate::snapshot::X;"),
    ]);
    assert!(report.faults.is_empty(), "{:?}", report.faults);
}

fn source(path: &str, text: &str) -> Source {
    Source {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}

fn lib_with_reexports() -> Source {
    source(
        "lib.rs",
        "pub mod wire; pub use error::{Error, Result}; pub use crate::snapshot::Entry;",
    )
}

/// A file below `src/`, with forward slashes.
struct Source {
    path: String,
    text: String,
}

/// What was found.
#[derive(Default)]
struct Report {
    files: usize,
    arrows: BTreeSet<(String, String)>,
    faults: Vec<String>,
}

fn read_sources() -> Vec<Source> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("src can be read") {
            let path = entry.expect("src can be read").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    found.sort();
    found
        .into_iter()
        .map(|path| Source {
            text: fs::read_to_string(&path).expect("a source file"),
            path: path
                .strip_prefix(&root)
                .expect("below src")
                .to_string_lossy()
                .replace('\\', "/"),
        })
        .collect()
}

fn judge(sources: &[Source]) -> Report {
    let mut report = Report {
        files: sources.len(),
        ..Report::default()
    };
    let tokens: Vec<Tokens> = sources.iter().map(|s| Tokens::of(&s.text)).collect();
    // What `crate::Name` stands for where `lib.rs` re-exports it.
    let mut reexports = BTreeMap::new();
    let mut test_modules = BTreeSet::new();
    for (source, tokens) in sources.iter().zip(&tokens) {
        let module = module_of(&source.path);
        if source.path == "lib.rs" {
            for path in tokens.paths(&module) {
                if let (Some(first), Some(last)) = (path.names.get(1), path.names.last()) {
                    reexports.insert(last.clone(), first.clone());
                }
            }
        }
        for name in &tokens.test_modules {
            test_modules.insert([module.as_slice(), std::slice::from_ref(name)].concat());
        }
    }
    for (source, tokens) in sources.iter().zip(&tokens) {
        let module = module_of(&source.path);
        if test_modules.iter().any(|test| module.starts_with(test)) {
            continue;
        }
        judge_file(source, tokens, &module, &reexports, &mut report);
    }
    report
}

fn judge_file(
    source: &Source,
    tokens: &Tokens,
    module: &[String],
    reexports: &BTreeMap<String, String>,
    report: &mut Report,
) {
    let mut fault = |line: usize, what: &str| {
        report
            .faults
            .push(format!("src/{}:{line}: {what}", source.path));
    };
    let binary = source.path == "main.rs" || module.first().is_some_and(|m| m == "cli");
    judge_words(source, tokens, binary, &mut fault);
    if source.path == "lib.rs" {
        return;
    }
    let own = if binary { None } else { layer_of(module) };
    if !binary && own.is_none() {
        let name = module.first().map_or("", String::as_str);
        fault(1, &format!("`{name}` is in no layer of this test's table"));
    }
    for path in tokens.paths(module) {
        let shown = path.names.join("::");
        let Some(first) = path.names.get(1).filter(|_| path.names[0] == "crate") else {
            if path.names.len() == 1 && path.names[0] == "crate" {
                fault(
                    path.line,
                    "a glob import of the whole crate hides what is used",
                );
            }
            if !binary {
                for (forbidden, why) in FORBIDDEN_PATHS {
                    if shown == *forbidden || shown.starts_with(&format!("{forbidden}::")) {
                        fault(path.line, &format!("{shown}: {why}"));
                    }
                }
            }
            continue;
        };
        if binary {
            if first != "cli" {
                fault(
                    path.line,
                    &format!("{shown}: the binary reaches the library only as `rdbridge::`"),
                );
            }
            continue;
        }
        let real = match reexports.get(first) {
            Some(module) if layer_of(&path.names[1..]).is_none() => vec![module.clone()],
            _ => path.names[1..].to_vec(),
        };
        let Some(used) = layer_of(&real) else {
            fault(
                path.line,
                &format!("{shown}: `{first}` is in no layer of this test's table"),
            );
            continue;
        };
        let Some((own, may_use)) = own else { continue };
        let around = own
            .strip_prefix(used.0)
            .is_some_and(|o| o.starts_with("::"));
        if used.0 == own || around || may_use.contains(&used.0) {
            report.arrows.insert((own.to_owned(), used.0.to_owned()));
        } else {
            fault(
                path.line,
                &format!("{own} may not use {} ({shown})", used.0),
            );
        }
    }
}

fn judge_words(
    source: &Source,
    tokens: &Tokens,
    binary: bool,
    fault: &mut impl FnMut(usize, &str),
) {
    for (i, token) in tokens.all.iter().enumerate() {
        let next = tokens.all.get(i + 1).map_or("", |t| t.text.as_str());
        match (token.text.as_str(), next) {
            ("unsafe", _) if !UNSAFE_FILES.contains(&source.path.as_str()) => {
                fault(token.line, &format!("unsafe outside {UNSAFE_FILES:?}"));
            }
            ("println" | "eprintln" | "print" | "eprint" | "dbg", "!") if !binary => {
                fault(
                    token.line,
                    &format!("{}!: the library does not print", token.text),
                );
            }
            ("allow", "(") => fault(
                token.line,
                "`allow` hides a lint for ever: `expect` with a reason",
            ),
            _ => {}
        }
    }
}

/// The row with the longest name that `path` begins with.
fn layer_of(path: &[String]) -> Option<(&'static str, &'static [&'static str])> {
    LAYERS
        .iter()
        .filter(|(name, _)| {
            let mut parts = name.split("::");
            let mut path = path.iter();
            parts.all(|part| path.next().is_some_and(|p| p == part))
        })
        .max_by_key(|(name, _)| name.len())
        .copied()
}

/// `wire/cursor.rs` is `wire::cursor`, `wire/mod.rs` is `wire`.
fn module_of(path: &str) -> Vec<String> {
    let path = path.trim_end_matches(".rs");
    let mut parts: Vec<String> = path.split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|p| p == "mod") || path == "lib" || path == "main" {
        parts.pop();
    }
    parts
}

/// The names behind `mod`, as far as they stand outside test code.
fn declared_modules(tokens: &Tokens) -> Vec<String> {
    tokens
        .all
        .windows(2)
        .filter(|pair| pair[0].text == "mod")
        .map(|pair| pair[1].text.clone())
        .collect()
}

/// A path as written, resolved to `crate::…` where it is relative.
struct NamedPath {
    names: Vec<String>,
    line: usize,
}

#[derive(Debug, Clone)]
struct Token {
    /// A word, `::`, or one punctuation character.
    text: String,
    line: usize,
}

/// A source file as words and signs, without comments, texts and test code.
struct Tokens {
    all: Vec<Token>,
    test_modules: Vec<String>,
}

impl Tokens {
    fn of(text: &str) -> Self {
        let mut tokens = Self {
            all: words_and_signs(text),
            test_modules: Vec::new(),
        };
        tokens.drop_test_code();
        tokens
    }

    /// Removes every item behind `#[cfg(test)]`.
    fn drop_test_code(&mut self) {
        let is = |tokens: &[Token], at: usize, texts: &[&str]| {
            texts
                .iter()
                .enumerate()
                .all(|(i, text)| tokens.get(at + i).is_some_and(|t| t.text == *text))
        };
        let mut kept = Vec::new();
        let mut at = 0;
        while at < self.all.len() {
            if !is(&self.all, at, &["#", "[", "cfg", "(", "test", ")", "]"]) {
                kept.push(self.all[at].clone());
                at += 1;
                continue;
            }
            at += 7;
            // More attributes of the same item.
            while is(&self.all, at, &["#", "["]) {
                at = self.behind_group(at + 1);
            }
            if is(&self.all, at, &["pub"]) {
                at += 1;
                if is(&self.all, at, &["("]) {
                    at = self.behind_group(at);
                }
            }
            if is(&self.all, at, &["mod"]) && is(&self.all, at + 2, &[";"]) {
                self.test_modules.push(self.all[at + 1].text.clone());
            }
            // The braces of a `use` are not the end of the item, those of anything else are.
            let braces_end = !is(&self.all, at, &["use"]);
            while let Some(token) = self.all.get(at) {
                match token.text.as_str() {
                    ";" => {
                        at += 1;
                        break;
                    }
                    "{" => {
                        at = self.behind_group(at);
                        if braces_end {
                            break;
                        }
                    }
                    "(" | "[" => at = self.behind_group(at),
                    _ => at += 1,
                }
            }
        }
        self.all = kept;
    }

    /// The index behind the bracket that closes the one at `open`.
    fn behind_group(&self, open: usize) -> usize {
        let mut depth = 0usize;
        for (i, token) in self.all.iter().enumerate().skip(open) {
            match token.text.as_str() {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => {
                    depth -= 1;
                    if depth == 0 {
                        return i + 1;
                    }
                }
                _ => {}
            }
        }
        self.all.len()
    }

    /// Every path that begins with `crate`, `super`, `self` or `std`, in `use` trees and elsewhere. Names that a `use` of
    /// `std` brought in are written out.
    fn paths(&self, module: &[String]) -> Vec<NamedPath> {
        let mut found = Vec::new();
        // Inline modules that are open, with the depth of their brace.
        let mut inline: Vec<(String, usize)> = Vec::new();
        let mut std_names: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut depth = 0usize;
        let mut at = 0;
        while let Some(token) = self.all.get(at) {
            let text = token.text.as_str();
            let next = self.all.get(at + 1).map_or("", |t| t.text.as_str());
            let previous = at.checked_sub(1).map_or("", |i| self.all[i].text.as_str());
            let here: Vec<String> = module
                .iter()
                .chain(inline.iter().map(|(name, _)| name))
                .cloned()
                .collect();
            match text {
                "{" => depth += 1,
                "}" => {
                    depth = depth.saturating_sub(1);
                    inline.retain(|(_, opened)| *opened <= depth);
                }
                "mod" if self.all.get(at + 2).is_some_and(|t| t.text == "{") => {
                    inline.push((next.to_owned(), depth + 1));
                }
                "use" => {
                    let mut leaves = Vec::new();
                    at = self.use_tree(at + 1, &[], &mut leaves);
                    for (names, alias, line) in leaves {
                        if names[0] == "std" {
                            std_names.insert(alias, names.clone());
                        }
                        found.extend(resolve(names, &here, line, module.is_empty()));
                    }
                    continue;
                }
                _ if next == "::" && previous != "::" && previous != "." => {
                    let mut names = vec![text.to_owned()];
                    while self.all.get(at + 1).is_some_and(|t| t.text == "::")
                        && self.all.get(at + 2).is_some_and(|t| is_word(&t.text))
                    {
                        names.push(self.all[at + 2].text.clone());
                        at += 2;
                    }
                    if let Some(long) = std_names.get(&names[0]) {
                        names.splice(..1, long.iter().cloned());
                    }
                    found.extend(resolve(names, &here, token.line, false));
                }
                _ => {}
            }
            at += 1;
        }
        found
    }

    /// Reads one tree behind `use`; each leaf with its prefix, the name it brings in, and its line.
    fn use_tree(
        &self,
        mut at: usize,
        prefix: &[String],
        leaves: &mut Vec<(Vec<String>, String, usize)>,
    ) -> usize {
        let mut names = prefix.to_vec();
        while let Some(token) = self.all.get(at) {
            match token.text.as_str() {
                "::" => at += 1,
                "{" => {
                    at += 1;
                    while self.all.get(at).is_some_and(|t| t.text != "}") {
                        if self.all[at].text == "," {
                            at += 1;
                        } else {
                            at = self.use_tree(at, &names, leaves);
                        }
                    }
                    return at + 1;
                }
                "*" => {
                    leaves.push((names, String::from("*"), token.line));
                    return at + 1;
                }
                word if is_word(word) => {
                    if word != "self" || names.is_empty() {
                        names.push(word.to_owned());
                    }
                    at += 1;
                    if self.all.get(at).is_some_and(|t| t.text == "::") {
                        continue;
                    }
                    let mut alias = names.last().cloned().unwrap_or_default();
                    if self.all.get(at).is_some_and(|t| t.text == "as") {
                        alias = self.all[at + 1].text.clone();
                        at += 2;
                    }
                    leaves.push((names, alias, token.line));
                    return at;
                }
                _ => return at + 1,
            }
        }
        at
    }
}

/// A relative path from `here`, written from the root of the crate. `None` for paths into other crates but `std`.
fn resolve(names: Vec<String>, here: &[String], line: usize, root: bool) -> Option<NamedPath> {
    let mut rest = names.as_slice();
    let mut base: Vec<String> = Vec::new();
    match names[0].as_str() {
        "crate" | "$crate" => rest = &rest[1..],
        "self" => {
            base = here.to_vec();
            rest = &rest[1..];
        }
        "super" => {
            base = here.to_vec();
            while rest.first().is_some_and(|n| n == "super") {
                base.pop();
                rest = &rest[1..];
            }
        }
        "std" => return Some(NamedPath { names, line }),
        // `use` in lib.rs begins at the root.
        _ if root => {}
        _ => return None,
    }
    let mut full = vec!["crate".to_owned()];
    full.extend(base);
    full.extend(rest.iter().cloned());
    Some(NamedPath { names: full, line })
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c == '_' || c.is_alphanumeric())
}

/// Splits a source text; comments, texts, characters and lifetimes are left out.
fn words_and_signs(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let get = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut i = 0;
    while i < chars.len() {
        let c = chars[i];
        if c == '\n' {
            line += 1;
            i += 1;
        } else if c.is_whitespace() {
            i += 1;
        } else if c == '/' && get(i + 1) == '/' {
            while i < chars.len() && chars[i] != '\n' {
                i += 1;
            }
        } else if c == '/' && get(i + 1) == '*' {
            let mut depth = 0;
            loop {
                if get(i) == '/' && get(i + 1) == '*' {
                    depth += 1;
                    i += 2;
                } else if get(i) == '*' && get(i + 1) == '/' {
                    depth -= 1;
                    i += 2;
                } else {
                    line += usize::from(get(i) == '\n');
                    i += 1;
                }
                if depth == 0 || i >= chars.len() {
                    break;
                }
            }
        } else if let Some(hashes) = raw_string_at(&chars, i) {
            let end: String = format!("\"{}", "#".repeat(hashes));
            i += chars[i..].iter().take_while(|c| **c != '"').count() + 1;
            while i < chars.len() && !chars[i..].iter().take(end.len()).copied().eq(end.chars()) {
                line += usize::from(chars[i] == '\n');
                i += 1;
            }
            i += end.len();
        } else if c == '"' {
            i += 1;
            while i < chars.len() && chars[i] != '"' {
                line += usize::from(chars[i] == '\n');
                if chars[i] == '\\' {
                    line += usize::from(get(i + 1) == '\n');
                    i += 1;
                }
                i += 1;
            }
            i += 1;
        } else if c == '\'' {
            if get(i + 1) == '\\' {
                i += 3;
                while i < chars.len() && chars[i] != '\'' {
                    i += 1;
                }
                i += 1;
            } else if get(i + 2) == '\'' {
                i += 3;
            } else {
                // A lifetime.
                i += 1;
                while is_word(&get(i).to_string()) {
                    i += 1;
                }
            }
        } else if is_word(&c.to_string()) || c == '$' {
            let mut word = String::from(c);
            i += 1;
            while is_word(&get(i).to_string()) {
                word.push(chars[i]);
                i += 1;
            }
            tokens.push(Token { text: word, line });
        } else {
            let mut text = String::from(c);
            i += 1;
            if c == ':' && get(i) == ':' {
                let _ = text.write_char(':');
                i += 1;
            }
            tokens.push(Token { text, line });
        }
    }
    tokens
}

/// How many `#` a raw text that begins at `i` has; `None` where none begins.
fn raw_string_at(chars: &[char], i: usize) -> Option<usize> {
    if i > 0 && is_word(&chars[i - 1].to_string()) {
        return None;
    }
    let mut at = i;
    if matches!(chars.get(at), Some('b' | 'c')) {
        at += 1;
    }
    if chars.get(at) != Some(&'r') {
        return None;
    }
    at += 1;
    let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
    (chars.get(at + hashes) == Some(&'"')).then_some(hashes)
}
