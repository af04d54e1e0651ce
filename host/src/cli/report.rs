//! `switchover report`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use anyhow::{Context as _, Result};
use futures_util::future::join_all;
use indicatif::ProgressBar;
use serde_json::json;

use super::rollout::{admin, document_of, runtime};
use super::table;
use crate::report::{Amounts, By, Counted, Ledger, Prices, Report, Row};
use crate::rollout::Loaded;
use crate::rollout::live::{Admin, LiveError};

/// Arguments of `switchover report`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Tokens and costs are what the filter has read from answers since each proxy's process began; answers that \
did not tell what they took are counted apart. A month has 30 days, and its rate is that of each proxy's whole time, or \
with --over of the time that the report then waits for. Prices come from the document; without one they are left out.

Examples:
  switchover report envoy/demo.ecds.yaml --admin http://127.0.0.1:9901
  switchover report --admin http://10.0.0.1:9901 --admin http://10.0.0.2:9901 --by consumer
  switchover report --admin http://127.0.0.1:9901 --over 30s --csv > cost.csv

Exit code: 0 for a whole report, 1 where a proxy gave no figures (the others' are shown) or the document is not right, \
2 for wrong arguments."
)]
pub(super) struct ReportArgs {
    /// The rollout document with the catalogue, or the ECDS file that holds it; default: SWITCHOVER_DOCUMENT, if set
    #[arg(value_name = "DOCUMENT")]
    document: Option<PathBuf>,
    /// The admin server of a gateway, as in http://127.0.0.1:9901; may be repeated
    #[arg(long, value_name = "URL", value_parser = admin, required = true)]
    admin: Vec<Admin>,
    /// What is added up
    #[arg(long, value_enum, default_value_t)]
    by: By,
    /// Take the monthly rate from so much time from now on, as in 30s
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    over: Option<Duration>,
    /// Print comma-separated values, one line for each row of the table
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Print {rows: [{…}], total: {…}, proxies: [{…}]} as JSON
    #[arg(long)]
    json: bool,
}

/// What a proxy has counted, or why that is not known.
type Answer = (String, Result<Counted, LiveError>);

/// Asks proxies what models took, and shows it.
///
/// # Errors
/// There is no right document.
pub(super) fn run(args: &ReportArgs) -> Result<ExitCode> {
    let path = document_of(args.document.clone());
    let loaded = path.map(|path| Loaded::read(&path)).transpose()?;
    let answers = runtime()?.block_on(ask(args));
    let counted: Vec<Counted> = answers
        .iter()
        .filter_map(|(_, answer)| answer.as_ref().ok().cloned())
        .collect();
    let document = loaded.as_ref().map(|loaded| loaded.document());
    let report = Report::new(&counted, args.by, document);
    let mut out = anstream::stdout().lock();
    match (args.csv, args.json) {
        (true, _) => csv(&mut out, &report)?,
        (_, true) => json(&mut out, &report, &answers)?,
        _ => text(&mut out, &report, args.by)?,
    }
    let warn = Style::new().bold().fg_color(Some(AnsiColor::Yellow.into()));
    let mut whole = true;
    for (_, answer) in &answers {
        if let Err(error) = answer {
            whole = false;
            anstream::eprintln!("{warn}!{warn:#} {error}: it is in no sum");
        }
    }
    Ok(if whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn ask(args: &ReportArgs) -> Vec<Answer> {
    let bar = args.over.map(|over| {
        let bar = ProgressBar::new_spinner();
        bar.set_message(format!("counting for {}", humantime::format_duration(over)));
        bar.enable_steady_tick(Duration::from_millis(100));
        bar
    });
    let one = |proxy: &Admin| {
        let proxy = proxy.clone();
        async move { (proxy.name().to_owned(), count(&proxy, args.over).await) }
    };
    let answers = join_all(args.admin.iter().map(one)).await;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    answers
}

async fn count(proxy: &Admin, over: Option<Duration>) -> Result<Counted, LiveError> {
    let Some(over) = over else {
        return Counted::since_start(proxy).await;
    };
    let first = Ledger::ask(proxy).await?;
    let began = std::time::Instant::now();
    tokio::time::sleep(over).await;
    let so_far = Ledger::ask(proxy).await?;
    Ok(Counted {
        lately: so_far.since(&first),
        so_far,
        time: began.elapsed(),
    })
}

fn text(out: &mut dyn Write, report: &Report, by: By) -> io::Result<()> {
    if report.rows.is_empty() {
        return writeln!(
            out,
            "no answer has told what it took; does the document have `models`, and are these its proxies?"
        );
    }
    let head = match by {
        By::Model => "model",
        By::Consumer => "consumer",
        By::Environment => "environment",
        By::Rollout => "rollout",
    };
    let mut columns = vec![head];
    if by == By::Model {
        columns.extend(["$ per million", "reference"]);
    }
    columns.extend([
        "answers",
        "untold",
        "input",
        "cached",
        "output",
        "cost $",
        "saved $",
        "saving",
        "tokens a month",
        "$ a month",
    ]);
    let mut table = table::new(columns);
    for row in report.rows.iter().chain([&report.total]) {
        let name = if row.name.is_empty() {
            "(none)"
        } else {
            &row.name
        };
        let mut cells = vec![name.to_owned()];
        if by == By::Model {
            cells.extend([row.usd_per_million, row.reference_usd_per_million].map(prices));
        }
        let Amounts {
            answers,
            untold_answers,
            input_tokens,
            cached_input_tokens,
            output_tokens,
            ..
        } = row.amounts;
        cells.extend(
            [
                answers,
                untold_answers,
                input_tokens,
                cached_input_tokens,
                output_tokens,
            ]
            .map(grouped),
        );
        cells.push(dollars(signed(row.amounts.cost_microdollars)));
        cells.push(dollars(row.saved_microdollars));
        cells.push(
            row.amounts
                .saving()
                .map_or(String::new(), |part| format!("{:.1} %", part * 100.0)),
        );
        cells.push(row.per_month.map_or(String::new(), |month| {
            grouped(month.input_tokens.saturating_add(month.output_tokens))
        }));
        cells.push(row.per_month.map_or(String::new(), |month| {
            dollars(signed(month.cost_microdollars))
        }));
        table.add_row(cells);
    }
    table::align_right(&mut table, 1);
    writeln!(out, "{table}")
}

fn csv(out: &mut dyn Write, report: &Report) -> Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    let header = [
        "name",
        "usd_per_million_input",
        "usd_per_million_cached_input",
        "usd_per_million_output",
        "reference_usd_per_million_input",
        "reference_usd_per_million_cached_input",
        "reference_usd_per_million_output",
        "answers",
        "untold_answers",
        "input_tokens",
        "cached_input_tokens",
        "output_tokens",
        "cost_microdollars",
        "reference_cost_microdollars",
        "saved_microdollars",
        "input_tokens_per_month",
        "output_tokens_per_month",
        "cost_microdollars_per_month",
        "reference_cost_microdollars_per_month",
    ];
    writer.write_record(header).context("cannot write")?;
    for row in &report.rows {
        writer.write_record(record(row)).context("cannot write")?;
    }
    writer.flush().context("cannot write")
}

fn record(row: &Row) -> Vec<String> {
    let mut cells = vec![row.name.clone()];
    for prices in [row.usd_per_million, row.reference_usd_per_million] {
        let of = |price: fn(&Prices) -> f64| {
            prices
                .as_ref()
                .map_or(String::new(), |own| price(own).to_string())
        };
        cells.extend([
            of(|own| own.input),
            of(|own| own.cached_input),
            of(|own| own.output),
        ]);
    }
    let own = row.amounts;
    let counts = [
        own.answers,
        own.untold_answers,
        own.input_tokens,
        own.cached_input_tokens,
        own.output_tokens,
        own.cost_microdollars,
        own.reference_cost_microdollars,
    ];
    cells.extend(counts.map(|count| count.to_string()));
    cells.push(row.saved_microdollars.to_string());
    let month = |amount: fn(&Amounts) -> u64| {
        row.per_month
            .as_ref()
            .map_or(String::new(), |own| amount(own).to_string())
    };
    cells.extend([
        month(|own| own.input_tokens),
        month(|own| own.output_tokens),
        month(|own| own.cost_microdollars),
        month(|own| own.reference_cost_microdollars),
    ]);
    cells
}

fn json(out: &mut dyn Write, report: &Report, answers: &[Answer]) -> io::Result<()> {
    let proxies: Vec<_> = answers
        .iter()
        .map(|(proxy, answer)| match answer {
            Ok(counted) => json!({"proxy": proxy, "seconds": counted.time.as_secs_f64()}),
            Err(error) => json!({"proxy": proxy, "error": error.to_string()}),
        })
        .collect();
    let mut value = json!(report);
    value["proxies"] = json!(proxies);
    writeln!(out, "{value:#}")
}

/// Prices that are all the same are one.
fn prices(prices: Option<Prices>) -> String {
    match prices {
        None => String::new(),
        Some(Prices {
            input,
            cached_input,
            output,
        }) if input == output && input == cached_input => input.to_string(),
        Some(Prices {
            input,
            cached_input,
            output,
        }) => format!("{input} / {cached_input} / {output}"),
    }
}

fn signed(cost: u64) -> i64 {
    i64::try_from(cost).unwrap_or(i64::MAX)
}

/// Dollars with cents; small sums with what they have.
fn dollars(micro: i64) -> String {
    let (sign, whole, part) = (
        if micro < 0 { "-" } else { "" },
        micro.unsigned_abs() / 1_000_000,
        micro.unsigned_abs() % 1_000_000,
    );
    match (whole, part) {
        (0, 1..) => format!("{sign}0.{part:06}"),
        _ => format!("{sign}{}.{:02}", grouped(whole), part / 10_000),
    }
}

/// With a comma after each thousand.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_money() {
        for (micro, text) in [
            (0, "0.00"),
            (1, "0.000001"),
            (999_999, "0.999999"),
            (1_239_999, "1.23"),
            (-1_500_000, "-1.50"),
            (1_234_567_890_000, "1,234,567.89"),
        ] {
            assert_eq!(dollars(micro), text);
        }
    }
}
