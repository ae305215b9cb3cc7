//! Plots as self-contained SVG.
//!
//! A plot is drawn for the width of a phone and scales up, so its text is readable on large screens too.

use std::fmt::Write;

/// Size and margins of a plot, in pixels on a narrow phone.
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 210.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 24.0;

/// Largest number of points of a line.
const POINTS_MAX: usize = 600;

/// Approximate number of ticks of an axis.
const STEPS: f64 = 4.0;

/// One line, or one set of bars.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Name in the legend.
    pub name: &'static str,
    /// Colour: a class of the page's style, `c0` to `c3`.
    pub class: &'static str,
    /// Points from left to right.
    pub points: Vec<(f64, f64)>,
}

/// How values are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Joined by lines.
    Lines,
    /// As bars from the axis.
    Bars,
}

/// Plots lines over seconds as an SVG element. `label` is the text for screen readers.
pub(crate) fn plot(label: &str, style: Style, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let x_end = points().map(|(x, _)| *x).fold(1.0, f64::max);
    let step = tick_step(points().map(|(_, y)| *y).fold(0.0, f64::max));
    let y_end = points()
        .map(|(_, y)| (y / step).ceil() * step)
        .fold(step, f64::max);
    let x_of = |x: f64| LEFT + x / x_end * (WIDTH - LEFT - RIGHT);
    let y_of = |y: f64| HEIGHT - BOTTOM - y / y_end * (HEIGHT - TOP - BOTTOM);

    let mut svg = format!(
        r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{}">"#,
        escape(label)
    );
    let mut tick = 0.0;
    while tick <= y_end + step / 2.0 {
        let y = y_of(tick);
        let _ = write!(
            svg,
            r#"<path class="grid" d="M{LEFT} {y:.1}H{:.1}"/><text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
            WIDTH - RIGHT,
            LEFT - 5.0,
            y + 4.0,
            short_number(tick)
        );
        tick += step;
    }
    let x_step = tick_step(x_end);
    let mut tick = 0.0;
    while tick <= x_end {
        let _ = write!(
            svg,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">{} s</text>"#,
            x_of(tick),
            HEIGHT - 7.0,
            short_number(tick)
        );
        tick += x_step;
    }
    for line in lines {
        let mut path = String::new();
        for (index, (x, y)) in downsample(&line.points).into_iter().enumerate() {
            let (x, y) = (x_of(x), y_of(y));
            let _ = match (style, index) {
                (Style::Bars, _) => write!(path, "M{x:.1} {:.1}V{y:.1}", y_of(0.0)),
                (Style::Lines, 0) => write!(path, "M{x:.1} {y:.1}"),
                (Style::Lines, _) => write!(path, "L{x:.1} {y:.1}"),
            };
        }
        let _ = write!(svg, r#"<path class="line {}" d="{path}"/>"#, line.class);
    }
    svg.push_str("</svg>");
    svg
}

/// Reduces to at most [`POINTS_MAX`] points. Each group keeps its highest point, so that peaks stay visible.
fn downsample(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let group = points.len().div_ceil(POINTS_MAX).max(1);
    let groups = points.chunks(group);
    groups
        .filter_map(|group| group.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1)))
        .collect()
}

/// A step of 1, 2 or 5 times a power of ten; about [`STEPS`] of them reach `highest`.
fn tick_step(highest: f64) -> f64 {
    let raw = (highest / STEPS).max(1e-9);
    let power = 10_f64.powf(raw.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let factor = factors.into_iter().find(|factor| factor * power >= raw);
    if highest > 0.0 {
        factor.unwrap_or(10.0) * power
    } else {
        1.0
    }
}

/// A number in few characters: 1.5k, 20M.
pub fn short_number(number: f64) -> String {
    let units = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    let (scale, unit) = units
        .into_iter()
        .find(|(scale, _)| number.abs() >= *scale)
        .unwrap_or((1.0, ""));
    let scaled = number / scale;
    let text = format!("{scaled:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}{unit}")
}

/// Escapes text for an HTML page.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::{Line, Style, downsample, escape, plot, short_number, tick_step};

    fn line(points: Vec<(f64, f64)>) -> Line {
        Line {
            name: "a",
            class: "c0",
            points,
        }
    }

    #[test]
    fn points_stand_where_their_values_are() {
        let svg = plot(
            "x < y",
            Style::Lines,
            &[line(vec![(0.0, 0.0), (10.0, 100.0)])],
        );
        // From the lower left to the upper right corner of the axes.
        assert!(svg.contains("M48.0 186.0L344.0 10.0"), "{svg}");
        assert!(svg.contains("x &lt; y") && svg.contains(">100</text>"));
        let bars = plot("", Style::Bars, &[line(vec![(5.0, 50.0), (10.0, 100.0)])]);
        assert!(bars.contains("M196.0 186.0V98.0"), "{bars}");
    }

    #[test]
    fn nothing_gives_axes() {
        let svg = plot("", Style::Lines, &[line(Vec::new())]);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>") && !svg.contains("NaN"));
    }

    #[test]
    fn peaks_survive_thinning() {
        let mut points: Vec<_> = (0..10_000).map(|x| (f64::from(x), 1.0)).collect();
        points[7_777].1 = 9.0;
        let thin = downsample(&points);
        assert!(thin.len() <= 600);
        assert!(thin.contains(&(7_777.0, 9.0)));
    }

    #[test]
    fn numbers_are_short_and_steps_round() {
        for (number, text) in [(0.0, "0"), (1500.0, "1.5k"), (2e7, "20M"), (0.25, "0.25")] {
            assert_eq!(short_number(number), text);
        }
        for (highest, expected) in [(0.0, 1.0), (4.0, 1.0), (100.0, 50.0), (7000.0, 2000.0)] {
            assert!((tick_step(highest) - expected).abs() < 1e-9, "{highest}");
        }
        assert_eq!(escape("<a href='x'>&"), "&lt;a href=&#39;x&#39;&gt;&amp;");
    }
}
