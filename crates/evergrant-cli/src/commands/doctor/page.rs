//! The report as one web page: no script, no font, no request to anywhere, so that it can be mailed and kept.
//!
//! Colours follow the reader's scheme; nothing is said by colour alone, every plot has its words and its table. What
//! servers said is text here like everything else.

use evergrant::doctor::{Check, Name, OffsetPoint, Report, State, TokenLine};

use super::plot::{Axis, Plot, escape};

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let findings: String = report.findings().into_iter().map(finding).collect();
    let (offset, latency, life) = (offset(report), latency(report), life(report));
    let asked: Vec<String> = [
        Some(format!("provider {}", report.provider)).filter(|_| !report.provider.is_empty()),
        report.token_url.as_ref().map(|url| format!("token endpoint {url}")),
        report.api_url.as_ref().map(|url| format!("API {url}")),
    ]
    .into_iter()
    .flatten()
    .map(|text| escape(&text))
    .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>Evergrant doctor: {state}</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<style>\n{css}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#main\">Skip to the findings</a>\n\
         <header><h1>Evergrant doctor</h1><p class=\"where\">{asked}</p>\
         <p class=\"where\">version {version}, made {at} by this machine's clock</p></header>\n\
         <main id=\"main\" tabindex=\"-1\">\n{health}{findings}<div class=\"cards\">{offset}{latency}{life}</div>\n{checks}</main>\n\
         </body>\n</html>\n",
        state = headline(report),
        css = include_str!("page.css"),
        asked = asked.join(", "),
        version = escape(report.evergrant),
        at = escape(&report.at),
        health = health(report),
        checks = checks(report),
    )
}

fn headline(report: &Report) -> String {
    let plural = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    match (report.counts.fault, report.counts.warning) {
        (0, 0) => "all is well".to_owned(),
        (0, warnings) => format!("it works, with {}", plural(warnings, "warning")),
        (faults, 0) => plural(faults, "fault"),
        (faults, warnings) => format!("{} and {}", plural(faults, "fault"), plural(warnings, "warning")),
    }
}

fn health(report: &Report) -> String {
    let mark = match report.state {
        State::Ok | State::Skipped => "\u{2713}",
        State::Warning => "!",
        State::Fault => "\u{2715}",
    };
    let tokens = match report.token_requests {
        0 => "No token was requested".to_owned(),
        1 => "One token was requested".to_owned(),
        more => format!("{more} tokens were requested"),
    };
    let mut headline = headline(report);
    if let Some(first) = headline.get(..1).map(str::to_uppercase) {
        headline.replace_range(..1, &first);
    }
    format!(
        "<section class=\"health\" data-state=\"{}\" aria-label=\"Health\"><span class=\"mark\" aria-hidden=\"true\">{mark}</span>\
         <div><p>{headline}</p><p class=\"small\">{} checks ok, {} skipped, in {:.1} s. {tokens}; nothing was changed.</p></div></section>\n",
        report.state.name(),
        report.counts.ok,
        report.counts.skipped,
        report.took_ms / 1000.0,
    )
}

fn finding(check: &Check) -> String {
    let facts: String = check.evidence.iter().map(|fact| format!("<li>{}</li>", escape(fact))).collect();
    let verdict = check.verdict.as_ref().map_or_else(String::new, |ruling| {
        format!(
            "<p class=\"small\">Cause: <b>{}</b>, {}</p>",
            escape(ruling.cause.name()),
            escape(ruling.confidence.name())
        )
    });
    let remedy = check
        .remedy
        .as_ref()
        .map_or_else(String::new, |remedy| format!("<p class=\"remedy\"><b>What to do:</b>{}</p>", with_code(remedy)));
    format!(
        "<section class=\"card finding\" data-state=\"{state}\" aria-label=\"{title}\"><h2>{chip}{title}</h2>\
         <ul>{facts}</ul>{verdict}{remedy}</section>\n",
        state = check.state.name(),
        title = escape(check.title),
        chip = chip(check.state),
    )
}

/// Text with its backticks as code.
fn with_code(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(index, part)| match index % 2 {
        1 => format!("<code>{}</code>", escape(part)),
        _ => escape(part),
    });
    parts.collect()
}

fn chip(state: State) -> String {
    format!("<span class=\"chip\" data-state=\"{0}\">{0}</span>", state.name())
}

/// The clocks over the time of the examination: one band per source.
fn offset(report: &Report) -> String {
    let points = &report.measured.offset;
    let mut sources: Vec<&str> = points.iter().map(|point| point.source).collect();
    sources.sort_unstable();
    sources.dedup();
    let of = |source: &str| points.iter().filter(move |point| point.source == source).collect::<Vec<_>>();
    let values: Vec<f64> =
        points.iter().flat_map(|point| [point.local_minus_server_s.lo, point.local_minus_server_s.hi]).collect();
    let times: Vec<f64> = points.iter().map(|point| point.at_s).collect();
    let mut plot = Plot::new(Axis::seconds(&times), Axis::around(&values, true, "s"));
    let mut legend = String::new();
    for (source, class) in sources.iter().zip(COLOURS) {
        let band: Vec<_> = of(source)
            .iter()
            .map(|point| (point.at_s, point.local_minus_server_s.lo, point.local_minus_server_s.hi))
            .collect();
        plot.band(class, &band);
        legend.push_str(&format!("<span><i class=\"{class}\"></i>{}</span>", escape(&source.replace('_', " "))));
    }
    let last: Vec<String> = sources.iter().filter_map(|source| of(source).last().map(|point| told(point))).collect();
    let words = if last.is_empty() { "No date of the provider was seen.".to_owned() } else { last.join("; ") };
    let clocks = report.checks.iter().find(|check| check.name == Name::Clock && check.state != State::Skipped);
    let lead = clocks.and_then(|check| check.evidence.first()).map_or(words.as_str(), String::as_str);
    let rows = points.iter().map(|point| {
        let skew = point.local_minus_server_s;
        [
            point.source.replace('_', " "),
            format!("{:.3} s", point.at_s),
            format!("{:+.3} s", skew.lo),
            format!("{:+.3} s", skew.hi),
        ]
    });
    let table = table("Clock offset as a table", ["source", "after", "at least", "at most"], rows);
    let figure = figure(points.is_empty(), || plot.finish(&format!("Clock offset over time. {words}")), &legend);
    card(
        "",
        "Clock offset",
        lead,
        &format!(
            "{figure}{table}<p class=\"small\">This machine minus the provider: above zero it is fast. The truth is inside each band, assuming {}.</p>",
            escape(&report.measured.assumptions)
        ),
    )
}

fn told(point: &OffsetPoint) -> String {
    let skew = point.local_minus_server_s;
    format!("by {} this machine is {:+.2} to {:+.2} s", point.source.replace('_', " "), skew.lo, skew.hi)
}

/// Every answer's latency on a scale of powers of ten.
fn latency(report: &Report) -> String {
    let points = &report.measured.latency;
    let power = |ms: f64| ms.max(0.1).log10();
    let times: Vec<f64> = points.iter().map(|point| point.at_s).collect();
    let values: Vec<f64> = points.iter().map(|point| power(point.ms)).collect();
    let mut plot = Plot::new(Axis::seconds(&times), Axis::powers(&values));
    let of = |what: &str| points.iter().filter(|point| point.what == what).map(|point| point.ms).collect::<Vec<f64>>();
    for point in points {
        let (class, shape) = if point.what == "api" { ("a", "round") } else { ("b", "square") };
        plot.dot(class, shape, point.at_s, power(point.ms));
    }
    let middle = |mut all: Vec<f64>, name: &str| {
        all.sort_by(f64::total_cmp);
        let middle = all.get(all.len() / 2)?;
        Some(format!("{name} {middle:.1} ms (middle of {})", all.len()))
    };
    let told: Vec<String> =
        [middle(of("token_endpoint"), "token endpoint"), middle(of("api"), "API")].into_iter().flatten().collect();
    let words = if told.is_empty() { "Nothing answered.".to_owned() } else { told.join(", ") };
    let legend = "<span><i class=\"b\"></i>token endpoint</span><span><i class=\"a round\"></i>API</span>";
    let rows = points.iter().map(|point| {
        [
            point.what.replace('_', " "),
            format!("{:.3} s", point.at_s),
            format!("{:.1} ms", point.ms),
            point.status.to_string(),
        ]
    });
    let table = table("Answer time as a table", ["asked", "after", "took", "status"], rows);
    let figure = figure(points.is_empty(), || plot.finish(&format!("Answer time. {words}")), legend);
    card("", "Answer time", &words, &format!("{figure}{table}"))
}

/// The token's life as one bar.
fn life(report: &Report) -> String {
    let Some(line) = &report.measured.token else {
        return card(" wide", "Life of the token", "No token was issued here.", "");
    };
    let (Some(hard), Some(dead), Some(gone)) = (line.hard_s, line.dead_s, line.gone_s) else {
        let words = format!("Its end is not known; it is refreshed after {}.", long(line.soft_s));
        return card(" wide", "Life of the token", &words, "");
    };
    let part = |class: &str, from: f64, to: f64| {
        format!("<div class=\"{class}\" style=\"width:{:.3}%\"></div>", 100.0 * (to - from).max(0.0) / gone.max(1e-9))
    };
    let words = format!(
        "Minted; refreshed from {} on, callers wait from {} on, dead after {}, gone after {}",
        long(line.soft_s),
        long(hard),
        long(dead),
        long(gone)
    );
    let bar = [
        part("fresh", 0.0, line.soft_s),
        part("soft", line.soft_s, hard),
        part("hard", hard, dead),
        part("dead", dead, gone),
    ]
    .concat();
    let ends = format!("<div class=\"ends\"><span>minted</span><span>gone after {}</span></div>", long(gone));
    let figure = format!(
        "<figure><div class=\"life\" role=\"img\" aria-label=\"Life of the token. {}\">{bar}</div>{ends}{}</figure>",
        escape(&words),
        moments(line, hard, dead, gone)
    );
    card(" wide", "Life of the token", &format!("It was {} old when this was written.", long(line.now_s)), &figure)
}

fn moments(line: &TokenLine, hard: f64, dead: f64, gone: f64) -> String {
    let moment = |class: &str, name: &str, at: String| {
        format!("<div><dt><i class=\"{class}\"></i>{name}</dt><dd>{at}</dd></div>")
    };
    format!(
        "<dl class=\"facts\">{}{}{}{}</dl>",
        moment("fresh", "fresh", format!("until {}", long(line.soft_s))),
        moment("soft", "soft: a refresh runs behind", format!("from {}", long(line.soft_s))),
        moment("hard", "hard: callers wait", format!("from {}", long(hard))),
        moment("dead", "dead to gone: may stop working", format!("{} to {}", long(dead), long(gone))),
    )
}

fn card(class: &str, title: &str, lead: &str, body: &str) -> String {
    format!(
        "<section class=\"card{class}\" aria-label=\"{title}\"><h2>{title}</h2><p class=\"lead\">{}</p>{body}</section>",
        escape(lead)
    )
}

fn figure(is_empty: bool, plot: impl FnOnce() -> String, legend: &str) -> String {
    if is_empty {
        return String::new();
    }
    format!("<figure>{}<figcaption class=\"legend\">{legend}</figcaption></figure>", plot())
}

fn table<const N: usize>(name: &str, heads: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let cells = |cells: &[String]| cells.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect::<String>();
    let rows: String = rows.map(|row| format!("<tr>{}</tr>", cells(&row))).collect();
    if rows.is_empty() {
        return String::new();
    }
    let heads: String = heads.iter().map(|head| format!("<th scope=\"col\">{head}</th>")).collect();
    format!(
        "<details><summary>As a table</summary><div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{name}\">\
         <table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div></details>"
    )
}

/// Every check in its order.
fn checks(report: &Report) -> String {
    let row = |check: &Check| {
        let facts: String = check.evidence.iter().map(|fact| format!("<p>{}</p>", escape(fact))).collect();
        format!(
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{facts}</td><td class=\"number\">{:.0} ms</td></tr>",
            escape(check.title),
            chip(check.state),
            check.took_ms,
        )
    };
    let rows: String = report.checks.iter().map(row).collect();
    format!(
        "<section class=\"card\" aria-label=\"Every check\"><h2>Every check</h2><table class=\"checks\"><thead><tr>\
         <th scope=\"col\">check</th><th scope=\"col\">state</th><th scope=\"col\">what was seen</th>\
         <th scope=\"col\" class=\"number\">took</th></tr></thead><tbody>{rows}</tbody></table></section>\n"
    )
}

/// Seconds in hours, minutes and seconds, as far as they are there.
fn long(seconds: f64) -> String {
    if seconds < 120.0 {
        return format!("{seconds:.1} s");
    }
    let mut left = seconds.round();
    let mut words = Vec::new();
    for (unit, size) in [("days", 86_400.0), ("h", 3_600.0), ("min", 60.0), ("s", 1.0)] {
        let count = (left / size).floor();
        left -= count * size;
        if count > 0.0 {
            words.push(format!("{count} {unit}"));
        }
    }
    words.join(" ")
}

const COLOURS: [&str; 6] = ["a", "b", "c", "d", "a", "b"];
