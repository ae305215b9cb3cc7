//! A report as one self-contained HTML page: no scripts, nothing fetched, readable on a phone.

use std::fmt::Write;

use super::{
    model::{Invariant, Report},
    plot::{Line, Style, escape, plot, short_number},
};
use crate::track::{Latency, Second};

const STYLE: &str = r"
:root{color-scheme:light dark;--ink:#1c2430;--dim:#5b6675;--ground:#fff;--grid:#dfe4ea;--c0:#8a94a3;--c1:#0b6bcb;--c2:#1a7f37;--c3:#c2410c}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ee;--dim:#9aa5b4;--ground:#14181f;--grid:#2c3440;--c0:#7d8896;--c1:#58a6ff;--c2:#56d364;--c3:#ff9b5e}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:72rem;font:16px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--ground);overflow-wrap:anywhere}
h1{font-size:1.4rem;margin:0 0 .3rem}h2{font-size:1.05rem;margin:0 0 .3rem}
p{margin:.3rem 0}.dim{color:var(--dim)}
.verdict{border-left:4px solid var(--c2);padding:.4rem .8rem;margin:1rem 0}.verdict.bad{border-color:var(--c3)}
.verdict ul{margin:.3rem 0;padding-left:1.2rem}
.grid2{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:1.4rem}
figure{margin:0}figcaption{display:flex;flex-wrap:wrap;gap:.2rem 1rem;color:var(--dim);font-size:.9rem}
figcaption b{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.3em}
svg{display:block;width:100%;height:auto}svg text{font:11px system-ui,sans-serif;fill:var(--dim)}
.grid{stroke:var(--grid);fill:none}.line{fill:none;stroke-width:1.6;stroke-linejoin:round}
path.c0{stroke:var(--c0)}path.c1{stroke:var(--c1)}path.c2{stroke:var(--c2)}path.c3{stroke:var(--c3)}
b.c0{background:var(--c0)}b.c1{background:var(--c1)}b.c2{background:var(--c2)}b.c3{background:var(--c3)}
table{border-collapse:collapse;width:100%;font-size:.92rem}td,th{padding:.25rem .4rem;text-align:right;border-bottom:1px solid var(--grid)}
td:first-child,th:first-child{text-align:left}th{color:var(--dim);font-weight:600}
.bar{height:.5rem;background:var(--c3);border-radius:2px;min-width:2px}
";

/// The report as an HTML page.
pub fn html_page(report: &Report) -> String {
    let title = format!(
        "{} at {:.0} per second",
        report.info.scenario, report.intended_rate
    );
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{0}</title><style>{STYLE}</style></head><body>\n<h1>{0}</h1>\n",
        escape(&title)
    );
    let _ = writeln!(
        page,
        "<p class=\"dim\">against {}, declarations: {}, seed {}, {:.1} s of sending</p>",
        escape(&report.info.endpoint),
        escape(&report.info.declarations),
        report.info.seed,
        report.info.send_seconds
    );
    page.push_str(&verdict(report));
    page.push_str("<div class=\"grid2\">\n");
    page.push_str(&figures(report));
    page.push_str(&latencies(report));
    page.push_str(&plots(report));
    page.push_str(&failures(report));
    page.push_str(&kinds(report));
    page.push_str("</div>\n</body></html>\n");
    page
}

fn verdict(report: &Report) -> String {
    let mut items: Vec<String> = report.overload.clone();
    match &report.invariant {
        Invariant::Holds => {}
        Invariant::Broken(what) => items.push(format!("the invariant is broken: {what}")),
        Invariant::Unchecked(why) => items.push(format!("the invariant was not checked: {why}")),
    }
    if items.is_empty() {
        let text = "The node kept up, no transaction was lost and the invariant holds.";
        return format!("<div class=\"verdict\" id=\"verdict\"><p>{text}</p></div>\n");
    }
    let list = concat(&items, |item| format!("<li>{}</li>", escape(item)));
    format!(
        "<div class=\"verdict bad\" id=\"verdict\"><p>This run has problems:</p><ul>{list}</ul></div>\n"
    )
}

fn figures(report: &Report) -> String {
    let summary = &report.summary;
    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    let rows: Vec<(&str, String)> = vec![
        (
            "intended per second",
            format!("{:.1}", report.intended_rate),
        ),
        (
            "submitted in time per second",
            format!("{:.1}", report.sent_rate),
        ),
        ("included per second", format!("{:.1}", summary.tps)),
        ("gas per second", short_number(summary.gas_per_s)),
        ("sent", summary.sent.to_string()),
        ("included", summary.included.to_string()),
        (
            "failed",
            format!("{} ({} reverted)", summary.failed, report.reverted),
        ),
        ("lost", summary.lost.to_string()),
        ("never submitted", report.unsent.to_string()),
        ("resent", report.repeats.to_string()),
        ("blocks", short_number(report.blocks.len() as f64)),
    ];
    let rows = concat(rows, |(name, value)| {
        format!("<tr><td>{name}</td><td>{value}</td></tr>")
    });
    table("Figures", &[], &rows)
}

fn latencies(report: &Report) -> String {
    let rows = [
        ("submitted", Some(report.lag_ms)),
        ("accepted", Some(report.accepted_ms)),
        ("announced", report.seen_ms),
        ("included", Some(report.summary.latency_ms)),
    ];
    let rows = rows
        .into_iter()
        .filter_map(|(name, latency)| Some((name, latency?)));
    let rows = concat(rows, |(name, latency)| {
        let Latency {
            p50,
            p90,
            p99,
            p999,
            max,
        } = latency;
        let cells: String = [p50, p90, p99, p999, max]
            .map(|value| format!("<td>{value:.1}</td>"))
            .concat();
        format!("<tr><td>{name}</td>{cells}</tr>")
    });
    let head = ["", "p50", "p90", "p99", "p99.9", "max"];
    table("Latency from the intended time, ms", &head, &rows)
}

fn plots(report: &Report) -> String {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let line = |name, class, read: &dyn Fn(&Second) -> Option<f64>| Line {
        name,
        class,
        points: report
            .series
            .iter()
            .filter_map(|second| Some((second.second as f64, read(second)?)))
            .collect(),
    };
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let count = |name, class, read: fn(&Second) -> u64| {
        line(name, class, &move |second| Some(read(second) as f64))
    };
    // A second without inclusions has no latency; that differs from a latency of 0.
    let latency = |name, class, read: fn(&Latency) -> f64| {
        line(name, class, &move |second| {
            (!second.latency_us.is_empty()).then(|| read(&second.latency_ms))
        })
    };
    #[expect(clippy::cast_precision_loss, reason = "shown in a few hundred pixels")]
    let gas = Line {
        name: "gas used",
        class: "c1",
        points: (report.blocks.iter())
            .map(|block| (block.seconds, block.gas as f64))
            .collect(),
    };
    let mut figures = vec![
        figure(
            "Transactions per second",
            Style::Lines,
            &[
                count("intended", "c0", |second| second.intended),
                count("submitted", "c1", |second| second.sent),
                count("included", "c2", |second| second.included),
            ],
        ),
        figure(
            "Time to inclusion, ms",
            Style::Lines,
            &[
                latency("max", "c0", |latency| latency.max),
                latency("p99", "c3", |latency| latency.p99),
                latency("p90", "c1", |latency| latency.p90),
                latency("p50", "c2", |latency| latency.p50),
            ],
        ),
        figure("Gas per block", Style::Bars, &[gas]),
    ];
    if !report.refusals.is_empty() || report.reverted > 0 {
        let lines = [
            count("refused", "c3", |second| second.refused),
            count("reverted", "c0", |second| second.reverted),
        ];
        figures.push(figure("Failures per second", Style::Lines, &lines));
    }
    figures.concat()
}

/// Concatenates what `render` returns for each item.
fn concat<T>(items: impl IntoIterator<Item = T>, render: impl Fn(T) -> String) -> String {
    items.into_iter().map(render).collect::<Vec<_>>().concat()
}

/// A section with a table; without a head there is no head row.
fn table(title: &str, head: &[&str], rows: &str) -> String {
    let mut cells = concat(head, |name| format!("<th>{name}</th>"));
    if !head.is_empty() {
        cells = format!("<tr>{cells}</tr>");
    }
    format!("<section><h2>{title}</h2><table>{cells}{rows}</table></section>\n")
}

fn figure(title: &str, style: Style, lines: &[Line]) -> String {
    let legend = concat(lines, |line| {
        format!("<span><b class=\"{}\"></b>{}</span>", line.class, line.name)
    });
    format!(
        "<figure><h2>{title}</h2>{}<figcaption>{legend}</figcaption></figure>\n",
        plot(title, style, lines)
    )
}

fn failures(report: &Report) -> String {
    let own = [
        ("never submitted".to_owned(), report.unsent),
        ("reverted".to_owned(), report.reverted),
        ("lost".to_owned(), report.summary.lost),
        ("dropped by the node".to_owned(), report.dropped),
    ];
    let refused = report.refusals.iter().chain(&report.troubles);
    let mut reasons: Vec<(String, u64)> = refused
        .map(|(kind, times)| (kind.clone(), *times))
        .chain(own)
        .filter(|(_, times)| *times > 0)
        .collect();
    if reasons.is_empty() {
        return "<section><h2>Failures by reason</h2><p>None.</p></section>\n".to_owned();
    }
    reasons.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
    let most = reasons[0].1;
    #[expect(clippy::cast_precision_loss, reason = "a bar's width")]
    let rows = concat(&reasons, |(reason, times)| {
        let width = *times as f64 / most as f64 * 100.0;
        format!(
            "<tr><td>{}<div class=\"bar\" style=\"width:{width:.1}%\"></div></td><td>{times}</td></tr>",
            escape(reason)
        )
    });
    table("Failures by reason", &["reason", "times"], &rows)
}

fn kinds(report: &Report) -> String {
    let rows = concat(&report.info.kinds, |(kind, counts)| {
        format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(kind),
            counts.included,
            counts.reverted
        )
    });
    let head = ["kind", "included", "reverted"];
    table("Transactions in blocks by kind", &head, &rows)
}

#[cfg(test)]
mod tests {
    use super::html_page;
    use crate::{report::model::Report, track::BlockSeen};

    #[test]
    fn a_page_is_self_contained() {
        let mut report = Report::sample();
        report.refusals.insert("<b>pool & co</b>".to_owned(), 3);
        report.blocks.push(BlockSeen {
            number: 1,
            seconds: 0.5,
            gas: 21_000,
            transactions: 1,
        });
        let page = html_page(&report);
        for forbidden in [
            "<script",
            "src=",
            "http-equiv",
            "url(",
            "@import",
            "<b>pool",
        ] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        // The endpoint is text, not a link.
        assert!(!page.contains("href="));
        assert!(page.contains("&lt;b&gt;pool &amp; co&lt;/b&gt;"));
        assert_eq!(page.matches("<svg").count(), 4);
    }
}
