//! The figures as text, JSON and SVG.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde_json::{Value, json};

use crate::egress::Egress;
use crate::measure::{Figures, Load};

/// One subject under one load.
#[derive(Debug, Clone)]
pub struct Line {
    /// The way out.
    pub egress: Egress,
    /// The load.
    pub load: Load,
    /// The subject's name.
    pub subject: &'static str,
    /// Medians.
    pub figures: Figures,
    /// How many times the peer loop's CPU for each datagram sent is of this subject's: above one is cheaper.
    pub ratio: f64,
}

/// All of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// Loads and subjects.
    pub lines: Vec<Line>,
    /// Other figures: a name and a value with its unit.
    pub notes: Vec<(String, String)>,
}

/// What a load is called.
fn label(load: &Load) -> String {
    let streams = if load.streams > 1 { format!("{} x ", load.streams) } else { String::new() };
    let burst = match (load.burst, load.uneven) {
        (1, _) => "singles".to_owned(),
        (n, false) => format!("bursts of {n}"),
        (n, true) => format!("frames of {n}"),
    };
    format!("{streams}N={}, {burst}, {} B, {}/s in", load.viewers, load.size, load.rate)
}

impl Report {
    /// A table.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut last = String::new();
        for line in &self.lines {
            let title = format!("{}: {}", line.egress.name(), label(&line.load));
            if title != last {
                let _ = writeln!(text, "\n{title}");
                let _ = writeln!(
                    text,
                    "  {:<16} {:>9} {:>10} {:>8} {:>7} {:>8} {:>9} {:>9} {:>8}",
                    "", "ns/out", "ns/in", "pkt/msg", "cpu %", "loss %", "p50 us", "p99 us", "x peer"
                );
                last = title;
            }
            let f = &line.figures;
            let delay = |us: f64| if line.egress.counts() { format!("{us:.0}") } else { "-".to_owned() };
            let _ = writeln!(
                text,
                "  {:<16} {:>9.0} {:>10.0} {:>8.2} {:>7.1} {:>8.2} {:>9} {:>9} {:>8.2}",
                line.subject,
                f.ns_out,
                f.ns_in,
                f.per_message,
                f.utilisation,
                f.loss,
                delay(f.p50),
                delay(f.p99),
                line.ratio
            );
        }
        text.push('\n');
        for (name, value) in &self.notes {
            let _ = writeln!(text, "{name}: {value}");
        }
        text
    }

    fn json(&self) -> Value {
        let line = |line: &Line| {
            let (l, f) = (&line.load, &line.figures);
            json!({
                "egress": line.egress.name(), "subject": line.subject,
                "streams": l.streams, "viewers": l.viewers, "burst": l.burst, "size": l.size, "rate": l.rate,
                "uneven": l.uneven,
                "cpu_ns_per_out": f.ns_out, "cpu_ns_per_in": f.ns_in, "datagrams_per_message": f.per_message,
                "utilisation_percent": f.utilisation, "loss_percent": f.loss,
                "p50_us": f.p50, "p99_us": f.p99, "times_cheaper_than_peer_loop": line.ratio,
            })
        };
        let notes: serde_json::Map<String, Value> =
            self.notes.iter().map(|(name, value)| (name.clone(), Value::from(value.clone()))).collect();
        json!({ "lines": self.lines.iter().map(line).collect::<Vec<_>>(), "notes": notes })
    }

    /// Bars of CPU nanoseconds for each datagram sent.
    fn svg(&self) -> String {
        const ROW: usize = 16;
        const LEFT: usize = 430;
        const WIDTH: f64 = 520.0;
        let longest = self.lines.iter().map(|line| line.figures.ns_out).fold(1.0, f64::max);
        let mut body = String::new();
        let (mut y, mut last) = (30, String::new());
        for line in &self.lines {
            let title = format!("{}: {}", line.egress.name(), label(&line.load));
            if title != last {
                y += ROW;
                let _ = write!(body, "<text x='8' y='{}' font-weight='bold'>{title}</text>", y + 12);
                y += ROW;
                last = title;
            }
            let width = line.figures.ns_out / longest * WIDTH;
            let colour = if line.subject == "peer loop" { "#9aa5b1" } else { "#2f7ed8" };
            let _ = write!(
                body,
                "<text x='{}' y='{}' text-anchor='end'>{}</text><rect x='{LEFT}' y='{y}' width='{width:.1}' height='13' \
                 fill='{colour}'/><text x='{:.1}' y='{}'>{:.0} ns, x {:.2}</text>",
                LEFT - 8,
                y + 12,
                line.subject,
                LEFT as f64 + width + 6.0,
                y + 12,
                line.figures.ns_out,
                line.ratio
            );
            y += ROW;
        }
        format!(
            "<svg xmlns='http://www.w3.org/2000/svg' width='1140' height='{}' font-family='sans-serif' font-size='12'>\
             <rect width='100%' height='100%' fill='white'/><text x='8' y='20' font-size='15'>CPU for each datagram \
             sent; x is how many times cheaper than the peer loop</text>{body}</svg>\n",
            y + 2 * ROW
        )
    }

    /// Writes `NAME.txt`, `NAME.json` and `NAME.svg` into `folder`; tells where the text is.
    pub fn save(&self, folder: &Path, name: &str) -> io::Result<PathBuf> {
        fs::create_dir_all(folder)?;
        let text = folder.join(format!("{name}.txt"));
        fs::write(&text, self.text())?;
        fs::write(folder.join(format!("{name}.json")), format!("{:#}\n", self.json()))?;
        fs::write(folder.join(format!("{name}.svg")), self.svg())?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_in_all_three_forms() {
        let load = Load { streams: 1, viewers: 100, burst: 4, size: 1_200, rate: 500, uneven: true };
        let figures = Figures { ns_out: 1234.0, ..Figures::default() };
        let line = Line { egress: Egress::Loopback, load, subject: "libsfu mmsg", figures, ratio: 2.5 };
        let report = Report { lines: vec![line], notes: vec![("idle".to_owned(), "0.02 %".to_owned())] };
        let text = report.text();
        assert!(text.contains("loopback: N=100, frames of 4, 1200 B, 500/s in"), "{text}");
        assert!(text.contains("1234") && text.contains("2.50") && text.contains("idle: 0.02 %"), "{text}");
        assert_eq!(report.json()["lines"][0]["cpu_ns_per_out"], 1234.0);
        assert!(report.svg().contains("1234 ns, x 2.50"));
    }
}
