//! The house rules over this repository: one test per rule, so that a failure names the rule.

use std::path::Path;
use std::sync::LazyLock;

use sfu_tidy::{Finding, Source, load, rules};

static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two folders below the root");
    load(root).expect("the repository can be read")
});

fn none(findings: &[Finding]) {
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "\n{}\n", lines.join("\n"));
}

#[test]
fn the_repository_was_read() {
    assert!(SOURCES.iter().any(|source| source.path == "Cargo.toml"));
    assert!(SOURCES.iter().filter(|source| source.is_rust()).count() > 20);
}

#[test]
fn files_are_short() {
    none(&rules::length::check(&SOURCES));
}

#[test]
fn banned_words_are_not_written() {
    none(&rules::words::check(&SOURCES));
}

#[test]
fn every_file_says_what_it_is() {
    none(&rules::opening::check(&SOURCES));
}

#[test]
fn one_file_reads_the_clock() {
    none(&rules::clock::check(&SOURCES));
}

#[test]
fn arrows_point_down() {
    none(&rules::floors::check(&SOURCES));
}

#[test]
fn foreign_libraries_have_one_door() {
    none(&rules::doors::check(&SOURCES));
}

#[test]
fn pure_floors_share_nothing_between_threads() {
    none(&rules::sharing::check(&SOURCES));
}

#[test]
fn unsafe_code_is_where_it_is_listed() {
    none(&rules::unsafety::check(&SOURCES));
}

#[test]
fn protocol_modules_do_not_name_each_other() {
    none(&rules::siblings::check(&SOURCES));
}

#[test]
fn every_duty_has_its_test() {
    none(&rules::duties::check(&SOURCES));
}
