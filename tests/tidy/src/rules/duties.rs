//! `tests/rfc.toml` and `tests/faults.toml`: each duty and each fault of a finished capability has a test.
//!
//! The two files are read by a small reader of their own: tables `[[name]]` with `key = "text"` lines.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Finding, Source};

/// One table of the file, with the line it begins at.
type Row = (usize, BTreeMap<String, String>);

/// Path of the table of RFC duties.
pub const RFC: &str = "tests/rfc.toml";
/// Path of the table of faults.
pub const FAULTS: &str = "tests/faults.toml";

/// Duties whose test does not exist, and rows that are not whole.
#[must_use]
pub fn check(sources: &[Source]) -> Vec<Finding> {
    let tests = test_names(sources);
    let mut findings = Vec::new();
    if let Some(file) = sources.iter().find(|source| source.path == RFC) {
        findings.extend(duties(&file.text, &tests));
    }
    if let Some(file) = sources.iter().find(|source| source.path == FAULTS) {
        findings.extend(faults(&file.text, sources, &tests));
    }
    findings
}

fn duties(text: &str, tests: &BTreeSet<String>) -> Vec<Finding> {
    let (rows, mut findings) = match read(text, "duty") {
        Ok(rows) => (rows, Vec::new()),
        Err(finding) => {
            return vec![Finding { path: RFC.to_owned(), ..finding }];
        }
    };
    let mut ids = BTreeSet::new();
    let mut tell = |line, text| findings.push(Finding { path: RFC.to_owned(), line, text });
    for (line, row) in &rows {
        for key in ["id", "rfc", "section", "text", "test"] {
            if row.get(key).is_none_or(String::is_empty) {
                tell(*line, format!("a duty without `{key}`"));
            }
        }
        let id = row.get("id").cloned().unwrap_or_default();
        if !ids.insert(id.clone()) {
            tell(*line, format!("duty {id} stands here twice"));
        }
        for test in row.get("test").into_iter().flat_map(|names| names.split_whitespace()) {
            if !tests.contains(test) {
                tell(*line, format!("duty {id}: there is no test `{test}`"));
            }
        }
    }
    findings
}

/// A fault that cannot happen here says so. Others' tests are found by the beginning of their names: `row_014_...`, or
/// `h01_and_row_014_...` for both.
fn faults(text: &str, sources: &[Source], tests: &BTreeSet<String>) -> Vec<Finding> {
    let rows = match read(text, "fault") {
        Ok(rows) => rows,
        Err(finding) => {
            return vec![Finding { path: FAULTS.to_owned(), ..finding }];
        }
    };
    let mut findings = Vec::new();
    for (line, row) in &rows {
        let id = row.get("id").cloned().unwrap_or_default();
        let tested = !id.is_empty() && tests.iter().any(|name| shows(name, &id));
        let absent = row.contains_key("absent");
        if tested == absent || absent && row["absent"].is_empty() {
            let text = match absent {
                true => format!("fault `{id}` is `absent`: say why, and test it nowhere"),
                false => format!("fault `{id}` has no test whose name begins with `{id}_`"),
            };
            findings.push(Finding { path: FAULTS.to_owned(), line: *line, text });
        }
        for language in row.get("languages").into_iter().flat_map(|names| names.split_whitespace()) {
            let folders = folders(language);
            let there = sources.iter().filter(|source| folders.iter().any(|folder| source.path.starts_with(folder)));
            if !test_names_of(there).iter().any(|name| shows(name, &id)) {
                let text = format!("fault `{id}` has no test in `{language}` ({})", folders.join(", "));
                findings.push(Finding { path: FAULTS.to_owned(), line: *line, text });
            }
        }
    }
    findings
}

/// Where the tests of a language are.
fn folders(language: &str) -> &'static [&'static str] {
    match language {
        "c" => &["tests/abi/", "ffi/src/"],
        "go" => &["bindings-go/"],
        "python" => &["bindings-python/tests/"],
        _ => &[],
    }
}

/// `TestRow075AndH25Closing` as the others write it: `row_075_and_h25_closing`.
fn in_words(name: &str) -> String {
    let mut words = String::new();
    let mut before = '_';
    for c in name.chars() {
        let begins = c.is_uppercase() || (c.is_ascii_digit() != before.is_ascii_digit() && before != 'H');
        if begins && before != '_' {
            words.push('_');
        }
        words.extend(c.to_lowercase());
        before = c;
    }
    words
}

fn shows(name: &str, id: &str) -> bool {
    // pytest finds its tests by this beginning.
    let name = name.strip_prefix("test_").unwrap_or(name);
    let begins = |part: &str| part == id || part.strip_prefix(id).is_some_and(|rest| rest.starts_with('_'));
    name != id && name.split("_and_").any(begins)
}

fn read(text: &str, table: &str) -> Result<Vec<Row>, Finding> {
    let mut rows: Vec<Row> = Vec::new();
    for (index, line) in text.lines().map(str::trim).enumerate() {
        let line_number = index + 1;
        let wrong = |text: &str| Finding { path: String::new(), line: line_number, text: text.to_owned() };
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line == format!("[[{table}]]") {
            rows.push((line_number, BTreeMap::new()));
            continue;
        }
        let (key, value) = line.split_once(" = ").ok_or_else(|| wrong("neither a table nor `key = \"text\"`"))?;
        let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
        let value = value.ok_or_else(|| wrong("a value is one text in double quotes"))?;
        let (_, row) = rows.last_mut().ok_or_else(|| wrong("a key before the first table"))?;
        row.insert(key.to_owned(), value.to_owned());
    }
    Ok(rows)
}

fn test_names(sources: &[Source]) -> BTreeSet<String> {
    test_names_of(sources.iter())
}

/// Names of every test: functions of Rust, Python and Go, and titles of the browser tests as they are written.
fn test_names_of<'a>(sources: impl Iterator<Item = &'a Source>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for source in sources {
        let opens: &[&str] = match source.path.rsplit('.').next() {
            Some("rs") => &["fn "],
            Some("py") => &["def "],
            Some("c" | "cpp" | "cc") => &["static void ", "static int "],
            Some("ts" | "mjs") => &["test(\"", "test('"],
            Some("go") => &["func Test"],
            _ => continue,
        };
        for line in source.text.lines().map(str::trim_start) {
            for open in opens {
                let begins =
                    line.strip_prefix(open).or_else(|| line.split_once(&format!(" {open}")).map(|(_, rest)| rest));
                if let Some(rest) = begins {
                    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
                    let name = &rest[..end];
                    names.insert(if *open == "func Test" { in_words(name) } else { name.to_owned() });
                }
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(rfc: &str) -> Vec<Finding> {
        check(&[Source::new(RFC, rfc), Source::new("engine/a/tests/a.rs", "#[test]\nfn it_holds() {}\n")])
    }

    const WHOLE: &str = "[[duty]]\nid = \"a\"\nrfc = \"1\"\nsection = \"2\"\ntext = \"x\"\ntest = \"it_holds\"\n";

    #[test]
    fn a_duty_with_its_test_passes() {
        assert_eq!(findings(WHOLE), vec![]);
    }

    #[test]
    fn a_duty_whose_test_is_gone_is_found() {
        assert_eq!(findings(&WHOLE.replace("it_holds", "it_held")).len(), 1);
    }

    #[test]
    fn a_duty_without_a_section_is_found_and_so_is_a_second_of_its_id() {
        assert_eq!(findings(&WHOLE.replace("section = \"2\"\n", "")).len(), 1);
        assert_eq!(findings(&format!("{WHOLE}{WHOLE}")).len(), 1);
    }

    #[test]
    fn a_fault_is_found_by_the_beginning_of_a_name() {
        let test = Source::new("engine/a/tests/a.rs", "fn row_004_stun_is_cut() {}\n");
        let with = |id: &str| check(&[Source::new(FAULTS, &format!("[[fault]]\nid = \"{id}\"\n")), test.clone()]);
        assert!(with("row_004").is_empty());
        assert_eq!(with("row_005").len(), 1);
        assert_eq!(with("row_00").len(), 1);
        let absent = |id: &str, why: &str| with(&format!("{id}\"\nabsent = \"{why}"));
        assert!(absent("row_082", "nothing could do it").is_empty());
        assert_eq!((absent("row_082", "").len(), absent("row_004", "yet there it is").len()), (1, 1));
        assert!(shows("test_row_014_hello", "row_014") && !shows("test_row_014", "row_014"));
        assert!(shows("h01_and_row_014_hello", "row_014") && shows("h01_and_row_014_hello", "h01"));
    }

    #[test]
    fn a_fault_without_a_test_in_one_of_its_languages_is_found() {
        let python = Source::new("bindings-python/tests/test_a.py", "def test_row_004_it_is_cut() -> None:\n");
        let go = Source::new("bindings-go/sfu/a_test.go", "func TestRow004AndH25ItIsCut(t *testing.T) {\n");
        let table = Source::new(FAULTS, "[[fault]]\nid = \"row_004\"\nlanguages = \"go python\"\n");
        assert_eq!(check(&[table.clone(), python.clone(), go.clone()]), vec![]);
        assert_eq!(check(&[table.clone(), python]).len(), 1);
        assert_eq!(check(&[table, go]).len(), 1);
        let unknown = Source::new(FAULTS, "[[fault]]\nid = \"row_004\"\nlanguages = \"cobol\"\n");
        assert_eq!(check(&[unknown, Source::new("engine/a.rs", "fn row_004_a() {}\n")]).len(), 1);
    }

    #[test]
    fn names_of_go_are_read_as_words() {
        assert_eq!(in_words("Row075AndH25Closing"), "row_075_and_h25_closing");
        assert_eq!(in_words("H33EveryField"), "h33_every_field");
    }

    #[test]
    fn a_line_that_is_not_understood_is_found() {
        assert_eq!(findings("[[duty]]\nid: a\n").len(), 1);
    }
}
