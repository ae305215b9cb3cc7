//! Plots as SVG, without scripts or anything from elsewhere.
//!
//! A plot is drawn for the width of a phone and scales up from there, so its text stays readable on both.

use std::fmt::Write;

/// Units of the drawing: pixels on a narrow phone.
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 210.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 24.0;

/// Points of a line; more could not be seen.
const POINTS_MAX: usize = 600;

/// Steps of an axis, about.
const STEPS: f64 = 4.0;

/// One line or set of bars.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// What it shows.
    pub name: &'static str,
    /// Its colour: a class of the page's style, `c0` to `c3`.
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

/// The plot of some lines over seconds, as an SVG element. `label` says for those who cannot see it what it shows.
pub(crate) fn plot(label: &str, style: Style, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let x_end = points().map(|(x, _)| *x).fold(1.0, f64::max);
    let step = step(points().map(|(_, y)| *y).fold(0.0, f64::max));
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
            short(tick)
        );
        tick += step;
    }
    let x_step = self::step(x_end);
    let mut tick = 0.0;
    while tick <= x_end {
        let _ = write!(
            svg,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">{} s</text>"#,
            x_of(tick),
            HEIGHT - 7.0,
            short(tick)
        );
        tick += x_step;
    }
    for line in lines {
        let mut path = String::new();
        for (index, (x, y)) in thinned(&line.points).into_iter().enumerate() {
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

/// At most [`POINTS_MAX`] points: of each group the highest, so that peaks stay.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let group = points.len().div_ceil(POINTS_MAX).max(1);
    let groups = points.chunks(group);
    groups
        .filter_map(|group| group.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1)))
        .collect()
}

/// A step of 1, 2 or 5 times a power of ten, with about [`STEPS`] of them up to `highest`.
fn step(highest: f64) -> f64 {
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
pub fn short(number: f64) -> String {
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

/// Text for an HTML page.
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
    use super::{Line, Style, escape, plot, short, step, thinned};

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
        // From the lower left corner of the axes to the upper right one.
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
        let thin = thinned(&points);
        assert!(thin.len() <= 600);
        assert!(thin.contains(&(7_777.0, 9.0)));
    }

    #[test]
    fn numbers_are_short_and_steps_round() {
        for (number, text) in [(0.0, "0"), (1500.0, "1.5k"), (2e7, "20M"), (0.25, "0.25")] {
            assert_eq!(short(number), text);
        }
        for (highest, expected) in [(0.0, 1.0), (4.0, 1.0), (100.0, 50.0), (7000.0, 2000.0)] {
            assert!((step(highest) - expected).abs() < 1e-9, "{highest}");
        }
        assert_eq!(escape("<a href='x'>&"), "&lt;a href=&#39;x&#39;&gt;&amp;");
    }
}
