//! A plan as a picture: for the terminal, and as SVG.

use plotters::prelude::{
    ChartBuilder, Color as _, IntoDrawingArea as _, LineSeries, Palette, Palette99, PathElement,
    SVGBackend, WHITE,
};
use plotters::style::{BLACK, IntoFont as _, RGBAColor};
use switchover_core::Duration;
use switchover_core::document::Rollout;

use super::Plan;
use crate::rollout::shares;

/// The size of the terminal's chart, in characters.
const TERMINAL: (u32, u32) = (72, 12);
/// The size of the SVG, in pixels.
const SIZE: (u32, u32) = (960, 480);

/// The colours of the environments that are called after one.
const BLUE: RGBAColor = RGBAColor(31, 119, 180, 1.0);
const GREEN: RGBAColor = RGBAColor(44, 160, 44, 1.0);

/// The environment's share over time, as lines of text.
#[must_use]
pub fn terminal(plan: &Plan, rollout: &Rollout) -> String {
    let (width, height) = TERMINAL;
    let points = usize::try_from(width).unwrap_or(1);
    let curve = plan.curve(rollout, points);
    let config = rasciigraph::Config::default()
        .with_height(height)
        .with_offset(4);
    let chart = rasciigraph::plot(curve, config);
    let length = plan
        .rows
        .last()
        .map_or(Duration::from_millis(0), |row| row.after);
    let is_axis = |c: char| matches!(c, '┤' | '┼');
    let last = chart.lines().last().unwrap_or_default();
    let indent = last.chars().position(is_axis).map_or(0, |at| at + 1);
    let end = shares::duration(length);
    let between = points.saturating_sub("0s".len());
    format!("{chart}\n{:indent$}0s{end:>between$}", "")
}

/// All environments' shares over time.
///
/// # Errors
/// What the drawing library could not do.
pub fn svg(plan: &Plan) -> Result<String, String> {
    let mut text = String::new();
    draw(plan, &mut text).map_err(|e| e.to_string())?;
    Ok(text)
}

fn draw(plan: &Plan, text: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(text, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let minutes = |after: Duration| after.as_secs() as f64 / 60.0;
    let end = plan
        .rows
        .last()
        .map_or(1.0, |row| minutes(row.after))
        .max(f64::MIN_POSITIVE);
    let mut chart = ChartBuilder::on(&area)
        .caption(
            format!("{}: shares by the clock", plan.rollout),
            ("sans-serif", 20).into_font(),
        )
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..end, 0.0..100.0)?;
    let mesh = &mut chart.configure_mesh();
    mesh.x_desc("minutes")
        .y_desc("percent")
        .light_line_style(WHITE)
        .draw()?;
    for (index, name) in plan.environments.iter().enumerate() {
        let colour = match name.as_str() {
            "blue" => BLUE,
            "green" => GREEN,
            _ => Palette99::pick(index).to_rgba(),
        };
        let mut points = Vec::new();
        for row in &plan.rows {
            let share = row
                .shares
                .get(index)
                .map_or(0.0, |s| f64::from(s.hundredths()) / 100.0);
            // A share stands until the next instant; a linear one has instants enough.
            if let Some((_, before)) = points.last().copied().filter(|_| !plan.is_linear) {
                points.push((minutes(row.after), before));
            }
            points.push((minutes(row.after), share));
        }
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .border_style(BLACK)
        .background_style(WHITE)
        .draw()?;
    area.present()?;
    drop(chart);
    Ok(())
}
