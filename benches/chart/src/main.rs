//! Draws the group `softmax` of the bench `softmax`: speed against the length of a row, for every
//! backend, the textbook forms and `memcpy`, on logarithmic axes.
//!
//! ```text
//! cargo bench --bench softmax -- '^softmax/'
//! cargo run --release --manifest-path benches/chart/Cargo.toml -- \
//!     target/criterion benches/speed.svg ["PROCESSOR, COMPILER"]
//! ```
//!
//! The first argument is where criterion left its measurements; where the build goes elsewhere, so
//! do they. The third is printed below the title.

use plotters::coord::combinators::{BindKeyPoints, IntoLogRange};
use plotters::prelude::*;
use serde_json::Value;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

const SIZE: (u32, u32) = (880, 500);
const LEGEND_WIDTH: u32 = 185;
const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(0x24, 0x29, 0x2F);
const GRID: RGBColor = RGBColor(0xDD, 0xE1, 0xE6);

/// Series are recognised by the names that the bench gives its functions.
const SERIES: [Series; 8] = [
    Series::new("avx512", "avx512", (0xB8, 0x12, 0x2B)),
    Series::new("avx2", "avx2", (0xE6, 0x7E, 0x00)),
    Series::new("neon", "neon", (0xE6, 0x7E, 0x00)),
    Series::new("portable", "portable", (0x1A, 0x7F, 0x37)),
    Series::new("scalar", "scalar", (0x09, 0x69, 0xDA)),
    Series::new(
        "reference three_loop",
        "three-loop reference",
        (0x82, 0x50, 0xDF),
    )
    .dashed(),
    Series::new("reference online", "online reference", (0xD0, 0x4A, 0xA8)).dashed(),
    Series::new("memcpy", "memcpy", (0x8C, 0x95, 0x9F)).dashed(),
];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (from, to, subtitle) = match arguments.as_slice() {
        [from, to] => (from, to, ""),
        [from, to, subtitle] => (from, to, subtitle.as_str()),
        _ => return Err("usage: chart CRITERION_DIRECTORY SVG_FILE [SUBTITLE]".into()),
    };
    let lines = read(&Path::new(from).join("softmax"))?;
    if lines.is_empty() {
        return Err(format!("{from} has no measurement of the group softmax").into());
    }
    draw(&lines, Path::new(to), subtitle)
}

struct Series {
    function: &'static str,
    label: &'static str,
    color: RGBColor,
    dashed: bool,
}

impl Series {
    const fn new(function: &'static str, label: &'static str, (r, g, b): (u8, u8, u8)) -> Self {
        Series {
            function,
            label,
            color: RGBColor(r, g, b),
            dashed: false,
        }
    }

    const fn dashed(self) -> Self {
        Series {
            dashed: true,
            ..self
        }
    }

    fn style(&self) -> ShapeStyle {
        self.color.stroke_width(2)
    }
}

struct Line {
    series: &'static Series,
    /// Length of the row, and elements per nanosecond, by length.
    points: Vec<(f64, f64)>,
}

impl Line {
    /// The mean of the logarithms, to put the legend into the order of the lines.
    fn height(&self) -> f64 {
        self.points.iter().map(|(_, speed)| speed.ln()).sum::<f64>() / self.points.len() as f64
    }
}

/// Reads `<function>/<length>/new/{benchmark,estimates}.json`; the fastest first.
fn read(group: &Path) -> Result<Vec<Line>, Box<dyn Error>> {
    let mut lines: Vec<Line> = Vec::new();
    for function in directories(group)? {
        for parameter in directories(&function)? {
            let newest = parameter.join("new");
            if !newest.join("benchmark.json").exists() {
                continue;
            }
            let benchmark = json(&newest.join("benchmark.json"))?;
            let estimates = json(&newest.join("estimates.json"))?;
            let name = &benchmark["function_id"];
            let Some(series) = SERIES.iter().find(|series| *name == series.function) else {
                eprintln!("left out: {name}");
                continue;
            };
            let length = benchmark["value_str"].as_str().and_then(|s| s.parse().ok());
            let elements = benchmark["throughput"]["Elements"].as_f64();
            let nanoseconds = estimates["median"]["point_estimate"].as_f64();
            let (Some(length), Some(elements), Some(nanoseconds)) = (length, elements, nanoseconds)
            else {
                return Err(format!("{}: not as expected", newest.display()).into());
            };
            let point = (length, elements / nanoseconds);
            match lines
                .iter_mut()
                .find(|l| l.series.function == series.function)
            {
                Some(line) => line.points.push(point),
                None => lines.push(Line {
                    series,
                    points: vec![point],
                }),
            }
        }
    }
    for line in &mut lines {
        line.points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    lines.sort_by(|a, b| b.height().total_cmp(&a.height()));
    Ok(lines)
}

fn directories(parent: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let entries = fs::read_dir(parent).map_err(|error| format!("{}: {error}", parent.display()))?;
    let mut directories = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            directories.push(path);
        }
    }
    Ok(directories)
}

fn json(path: &Path) -> Result<Value, Box<dyn Error>> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(serde_json::from_str(&text)?)
}

fn draw(lines: &[Line], to: &Path, subtitle: &str) -> Result<(), Box<dyn Error>> {
    let mut lengths: Vec<f64> = lines
        .iter()
        .flat_map(|line| line.points.iter().map(|(length, _)| *length))
        .collect();
    lengths.sort_by(f64::total_cmp);
    lengths.dedup();
    let speeds = || {
        lines
            .iter()
            .flat_map(|line| line.points.iter().map(|(_, speed)| *speed))
    };
    let (slowest, fastest) = (
        speeds().fold(f64::INFINITY, f64::min),
        speeds().fold(0.0, f64::max),
    );
    let (shortest, longest) = (lengths[0], lengths[lengths.len() - 1]);

    let root = SVGBackend::new(to, SIZE).into_drawing_area();
    // Without it, the picture would be dark on dark for some readers.
    root.fill(&WHITE)?;
    let text = |size: u32| (FONT, size).into_font().color(&INK);
    root.draw(&Text::new(
        "Softmax of a row of f32, one thread",
        (20, 14),
        text(19),
    ))?;
    root.draw(&Text::new(subtitle.to_owned(), (20, 40), text(13)))?;
    let below_titles = root.margin(62, 8, 8, 0);
    let (plot, legend) = below_titles.split_horizontally(SIZE.0 - LEGEND_WIDTH);

    let mut chart = ChartBuilder::on(&plot)
        .margin_right(16)
        .x_label_area_size(52)
        .y_label_area_size(64)
        .build_cartesian_2d(
            (shortest / 1.15..longest * 1.15)
                .log_scale()
                .with_key_points(lengths),
            (slowest / 1.25..fastest * 1.25)
                .log_scale()
                .with_key_points(ticks(slowest / 1.25, fastest * 1.25)),
        )?;
    chart
        .configure_mesh()
        .axis_style(INK.stroke_width(1))
        .bold_line_style(GRID.stroke_width(1))
        .light_line_style(TRANSPARENT)
        .label_style(text(13))
        .axis_desc_style(text(14))
        .x_desc("elements in the row")
        .y_desc("elements per nanosecond")
        .x_label_formatter(&|length| thousands(*length as u64))
        .y_label_formatter(&|speed| format!("{speed}"))
        .draw()?;
    for line in lines.iter().rev() {
        let points = line.points.iter().copied();
        let style = line.series.style();
        if line.series.dashed {
            chart.draw_series(DashedLineSeries::new(points.clone(), 6, 4, style))?;
        } else {
            chart.draw_series(LineSeries::new(points.clone(), style))?;
        }
        chart.draw_series(points.map(|point| Circle::new(point, 3, line.series.color.filled())))?;
    }

    for (i, line) in lines.iter().enumerate() {
        let y = 14 + 24 * i as i32;
        let style = line.series.style();
        let dashes: &[(i32, i32)] = if line.series.dashed {
            &[(0, 6), (10, 16), (20, 26)]
        } else {
            &[(0, 26)]
        };
        for (start, end) in dashes {
            legend.draw(&PathElement::new([(*start, y), (*end, y)], style))?;
        }
        legend.draw(&Circle::new((13, y), 3, line.series.color.filled()))?;
        legend.draw(&Text::new(line.series.label, (34, y - 4), text(14)))?;
    }
    root.present()?;
    Ok(())
}

/// 1, 2 and 5 times the powers of ten in the range.
fn ticks(from: f64, to: f64) -> Vec<f64> {
    (-6..=6)
        .flat_map(|exponent| [1, 2, 5].map(|digit| (digit, exponent)))
        // Parsed, so that they are printed as short as they are meant.
        .filter_map(|(digit, exponent)| format!("{digit}e{exponent}").parse().ok())
        .filter(|tick| (from..=to).contains(tick))
        .collect()
}

/// With a space between thousands.
fn thousands(number: u64) -> String {
    if number < 1000 {
        return number.to_string();
    }
    format!("{} {:03}", thousands(number / 1000), number % 1000)
}
