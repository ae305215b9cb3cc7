//! A bar chart of the speed-ups, as an SVG for light and dark backgrounds.

use super::report::Line;
use std::fmt::Write as _;

const WIDTH: f64 = 860.0;
const LABELS: f64 = 170.0;
const BAR: f64 = 11.0;
const GAP: f64 = 16.0;
const TOP: f64 = 64.0;
/// By access: recorded, signed, inferred. They differ in lightness too.
const COLOURS: [(&str, &str); 3] = [
    ("recorded", "#1f77b4"),
    ("signed", "#e08a1e"),
    ("inferred", "#7a9e3b"),
];

/// Draws one group of bars for each workload: our speed-up over the yardstick on the most threads measured.
pub fn draw(lines: &[Line], cores: usize) -> String {
    let threads = lines.iter().map(|line| line.threads).max().unwrap_or(1);
    let mut workloads: Vec<&str> = Vec::new();
    for line in lines {
        if !workloads.contains(&line.workload) {
            workloads.push(line.workload);
        }
    }
    let ours = |workload: &str, access: &str| {
        lines.iter().find(|line| {
            line.workload == workload
                && line.engine == "lockweave"
                && line.threads == threads
                && line.access == Some(access)
        })
    };
    let most = lines.iter().map(|line| line.speedup).fold(1.0, f64::max);
    let ticks = most.ceil().max(2.0);
    let scale = (WIDTH - LABELS - 70.0) / ticks;
    let mut body = String::new();
    let mut y = TOP;
    for workload in &workloads {
        let first = y;
        for (access, colour) in COLOURS {
            let Some(line) = ours(workload, access) else {
                continue;
            };
            let width = line.speedup * scale;
            let _ = writeln!(
                body,
                "<rect x=\"{LABELS}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{}\" class=\"value\">{:.2}×</text>",
                LABELS + width + 5.0,
                y + BAR - 2.0,
                line.speedup,
            );
            y += BAR + 2.0;
        }
        let middle = f64::midpoint(first, y) + 3.0;
        let _ = writeln!(
            body,
            "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{workload}</text>",
            LABELS - 10.0
        );
        y += GAP;
    }
    let mut grid = String::new();
    let mut tick = 0.0;
    while tick <= ticks {
        let x = LABELS + tick * scale;
        let class = if (tick - 1.0).abs() < 0.1 {
            "one"
        } else {
            "grid"
        };
        let _ = writeln!(
            grid,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{y}\" class=\"{class}\"/>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\" class=\"value\">{tick:.0}×</text>",
            TOP - 8.0,
            TOP - 12.0,
        );
        tick += 1.0;
    }
    let mut legend = String::new();
    let mut x = LABELS;
    for (access, colour) in COLOURS {
        let _ = writeln!(
            legend,
            "<rect x=\"{x}\" y=\"28\" width=\"11\" height=\"11\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"38\">{access}</text>",
            x + 16.0
        );
        x += 100.0;
    }
    let height = y + 10.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"Speed-up over sequential revm, by workload\">\n<style>\n\
         text {{ font: 12px system-ui, sans-serif; fill: #333 }}\n\
         .value {{ font-size: 11px }}\n.title {{ font-size: 14px; font-weight: 600 }}\n\
         .grid {{ stroke: #888; stroke-opacity: 0.25 }}\n.one {{ stroke: #888 }}\n\
         @media (prefers-color-scheme: dark) {{ text {{ fill: #ddd }} }}\n</style>\n\
         <text x=\"{LABELS}\" y=\"16\" class=\"title\">{threads} threads on {cores} cores, over the best \
         sequential revm (1×)</text>\n{legend}{grid}{body}</svg>\n"
    )
}
