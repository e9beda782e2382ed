//! Structures in the shape that Chromium sends them, one per scalability mode: for simulated
//! publishers, tests and the seeds of fuzz targets. Nothing on the packet path calls this.

use super::{Indications, Template, TemplateStructure};

/// Spatial and temporal layer, what it is to each decode target, references, chains.
type Line = (u8, u8, &'static str, &'static [u16], &'static [u8]);

const L1T3: &[Line] = &[
    (0, 0, "SSS", &[], &[0]),
    (0, 0, "SSS", &[4], &[4]),
    (0, 1, "-DS", &[2], &[2]),
    (0, 2, "--D", &[1], &[1]),
    (0, 2, "--D", &[1], &[3]),
];

const L3T3: &[Line] = &[
    (0, 0, "SSSRRRRRR", &[12], &[12, 11, 10]),
    (0, 0, "SSSSSSSSS", &[], &[0, 0, 0]),
    (0, 1, "-DS-RR-RR", &[6], &[6, 5, 4]),
    (0, 2, "--D--R--R", &[3], &[3, 2, 1]),
    (0, 2, "--D--R--R", &[3], &[9, 8, 7]),
    (1, 0, "---SSSRRR", &[12, 1], &[1, 1, 1]),
    (1, 0, "---SSSSSS", &[1], &[1, 1, 1]),
    (1, 1, "----DS-RR", &[6, 1], &[7, 6, 5]),
    (1, 2, "-----D--R", &[3, 1], &[4, 3, 2]),
    (1, 2, "-----D--R", &[3, 1], &[10, 9, 8]),
    (2, 0, "------SSS", &[12, 1], &[2, 1, 1]),
    (2, 0, "------SSS", &[1], &[2, 1, 1]),
    (2, 1, "-------DS", &[6, 1], &[8, 7, 6]),
    (2, 2, "--------D", &[3, 1], &[5, 4, 3]),
    (2, 2, "--------D", &[3, 1], &[11, 10, 9]),
];

const L3T3_KEY: &[Line] = &[
    (0, 0, "SSS------", &[12], &[12, 11, 10]),
    (0, 0, "SSSSSSSSS", &[], &[0, 0, 0]),
    (0, 1, "-DS------", &[6], &[6, 5, 4]),
    (0, 2, "--D------", &[3], &[3, 2, 1]),
    (0, 2, "--D------", &[3], &[9, 8, 7]),
    (1, 0, "---SSS---", &[12], &[1, 12, 11]),
    (1, 0, "---SSSSSS", &[1], &[1, 1, 1]),
    (1, 1, "----DS---", &[6], &[7, 6, 5]),
    (1, 2, "-----D---", &[3], &[4, 3, 2]),
    (1, 2, "-----D---", &[3], &[10, 9, 8]),
    (2, 0, "------SSS", &[12], &[2, 1, 12]),
    (2, 0, "------SSS", &[1], &[2, 1, 1]),
    (2, 1, "-------DS", &[6], &[8, 7, 6]),
    (2, 2, "--------D", &[3], &[5, 4, 3]),
    (2, 2, "--------D", &[3], &[11, 10, 9]),
];

/// The structure of a mode, L1T3, L3T3 or L3T3_KEY, whose first template has the id 60; `None` for
/// another mode.
pub fn structure(mode: &str) -> Option<TemplateStructure> {
    let (lines, protected_by, sizes): (&[Line], &[u8], &[(u16, u16)]) = match mode {
        "L1T3" => (L1T3, &[0, 0, 0], &[(1279, 719)]),
        "L3T3" => (L3T3, &[0, 0, 0, 1, 1, 1, 2, 2, 2], &[(319, 179), (639, 359), (1279, 719)]),
        "L3T3_KEY" => (L3T3_KEY, &[0, 0, 0, 1, 1, 1, 2, 2, 2], &[(319, 179), (639, 359), (1279, 719)]),
        _ => return None,
    };
    let template = |line: &Line| Template::new(line.0, line.1, Indications::from_letters(line.2)?, line.3, line.4);
    let templates = lines.iter().map(template).collect::<Option<Vec<_>>>()?;
    TemplateStructure::new(60, &templates, protected_by.len() as u8, protected_by, sizes).ok()
}
