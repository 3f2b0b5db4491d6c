//! Credentials of a store in words.

use evergrant::clock;
use evergrant::core::time::Span;
use evergrant::store::{Listed, Record};

use super::{MINT_WINDOW, Ours, age, issued_ago};

/// One credential a line.
pub(super) fn table(credentials: &[Listed], ours: &Ours) -> String {
    let head = ["CREDENTIAL", "GENERATION", "ACCESS TOKEN", "REFRESH TOKEN", "NOTE"].map(str::to_owned);
    let rows: Vec<[String; 5]> = [head].into_iter().chain(credentials.iter().map(|listed| row(listed, ours))).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3].map(width);
    let line = |row: &[String; 5]| {
        let [name, generation, access, refresh, note] = row;
        let [a, b, c, d] = widths;
        format!("{name:a$}  {generation:>b$}  {access:c$}  {refresh:d$}  {note}").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// Everything about one credential, a line each.
pub(super) fn sheet(listed: &Listed, ours: &Ours) -> String {
    let whose = if ours.has(&listed.key) { " (of these settings)" } else { "" };
    let mut lines = vec![("credential", format!("{}{whose}", listed.key.as_str()))];
    match &listed.record {
        Err(cause) => lines.push(("damaged", cause.clone())),
        Ok(record) => {
            lines.push(("generation", record.generation.to_string()));
            let kind =
                record.token_type.as_deref().map(|kind| format!("{}, ", kind.escape_debug())).unwrap_or_default();
            lines.push(("access token", format!("{kind}{}", access_token(record))));
            lines.push(("refresh token", held(record.refresh_token.is_some()).to_owned()));
            lines.extend(doubt(record).map(|doubt| ("in doubt", doubt)));
            let mints = record.mints_within(MINT_WINDOW, clock::now());
            lines.push(("token requests", format!("{mints} in the last 10 minutes")));
        }
    }
    lines.iter().map(|(name, value)| format!("{name:14}  {value}\n")).collect()
}

fn row(listed: &Listed, ours: &Ours) -> [String; 5] {
    let mut notes = Vec::new();
    if ours.has(&listed.key) {
        notes.push("of these settings".to_owned());
    }
    let name = listed.key.short().to_owned();
    match &listed.record {
        Err(cause) => {
            notes.push(format!("damaged: {cause}"));
            [name, "-".to_owned(), "-".to_owned(), "-".to_owned(), notes.join("; ")]
        }
        Ok(record) => {
            notes.extend(doubt(record).map(|doubt| format!("in doubt: {doubt}")));
            let refresh = held(record.refresh_token.is_some()).to_owned();
            [name, record.generation.to_string(), access_token(record), refresh, notes.join("; ")]
        }
    }
}

/// What is known of the access token's time. What the provider's clock says is not asked here.
fn access_token(record: &Record) -> String {
    if record.access_token.is_none() {
        return held(false).to_owned();
    }
    match (issued_ago(record), record.expires_in) {
        (Some(ago), Some(lifetime)) if ago >= lifetime => format!("ended {} ago", roughly(ago - lifetime)),
        (Some(ago), Some(lifetime)) => format!("{} left of {}", roughly(lifetime - ago), roughly(lifetime)),
        (Some(ago), None) => format!("issued {} ago", roughly(ago)),
        (None, _) => held(true).to_owned(),
    }
}

fn doubt(record: &Record) -> Option<String> {
    let intent = record.intent.as_ref()?;
    let when = age(&intent.at).map(|ago| format!(" {} ago", roughly(ago))).unwrap_or_default();
    // The name of a host is what another machine wrote.
    let owner = intent.owner.to_string();
    Some(format!("{} began a token request{when} and wrote no answer", owner.escape_debug()))
}

const fn held(is_held: bool) -> &'static str {
    if is_held { "held" } else { "none" }
}

/// A length of time in its two largest units.
fn roughly(span: Span) -> String {
    let secs = span.as_secs().max(0);
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let first = units.iter().position(|(unit, _)| secs >= *unit).unwrap_or(units.len() - 1);
    let two = units.iter().skip(first).take(2);
    let parts = two.scan(secs, |left, (unit, name)| {
        let count = *left / unit;
        *left %= unit;
        Some((count, name))
    });
    let parts = parts.enumerate().filter(|(place, (count, _))| *place == 0 || *count > 0);
    parts.map(|(_, (count, name))| format!("{count}{name}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_has_its_two_largest_units() {
        let cases =
            [(0, "0s"), (59, "59s"), (60, "1m"), (61, "1m 1s"), (3_600, "1h"), (86_399, "23h 59m"), (90_061, "1d 1h")];
        for (secs, words) in cases {
            assert_eq!(roughly(Span::from_secs(secs)), words);
        }
    }
}
