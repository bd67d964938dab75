//! The comparisons as bars.

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::report::{Chapter, Goal, Row};

/// Pixels.
const WIDTH: i32 = 900;
const ROW: i32 = 26;
const HEAD: i32 = 70;
const NAMES: i32 = 270;
const MARGIN: i32 = 130;

/// All chapters, one below the other.
pub(crate) fn svg(chapters: &[Chapter]) -> Result<String> {
    let mut text = String::new();
    {
        let height: u32 = chapters.iter().map(height_of).sum();
        let root =
            SVGBackend::with_string(&mut text, (WIDTH.unsigned_abs(), height)).into_drawing_area();
        root.fill(&WHITE).map_err(|e| anyhow!("plot: {e}"))?;
        let mut top = 0;
        for chapter in chapters {
            let area = root
                .clone()
                .shrink((0_u32, top), (WIDTH.unsigned_abs(), height_of(chapter)));
            draw(&area, chapter).map_err(|e| anyhow!("plot of {}: {e}", chapter.title))?;
            top += height_of(chapter);
        }
        root.present().map_err(|e| anyhow!("plot: {e}"))?;
    }
    Ok(text)
}

fn height_of(chapter: &Chapter) -> u32 {
    HEAD.unsigned_abs() + ROW.unsigned_abs() * chapter.rows.len() as u32
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

fn draw(area: &Area<'_>, chapter: &Chapter) -> Drawn {
    let title = ("sans-serif", 18).into_font().color(&BLACK);
    let small = ("sans-serif", 13).into_font().color(&BLACK);
    area.draw(&Text::new(chapter.title.clone(), (12, 12), title))?;
    let under = format!("{}; bars: median, lines: least to most", chapter.compared);
    area.draw(&Text::new(under, (12, 36), small.clone()))?;
    let most = chapter
        .rows
        .iter()
        .map(reach)
        .fold(f64::MIN_POSITIVE, f64::max);
    let room = f64::from(WIDTH - NAMES - MARGIN);
    let x = |figure: f64| NAMES + (figure.max(0.0) / most * room) as i32;
    for (at, row) in chapter.rows.iter().enumerate() {
        let y = HEAD + ROW * i32::try_from(at)?;
        let middle = y + 8;
        let [median, least, greatest] = row.compared;
        let right = small.clone().pos(Pos::new(HPos::Right, VPos::Center));
        area.draw(&Text::new(row.name.clone(), (NAMES - 10, middle), right))?;
        let colour = if row.met() == Some(false) {
            RGBColor(196, 78, 82)
        } else {
            RGBColor(76, 114, 176)
        };
        let bar = [(NAMES, y), (x(median), y + 16)];
        area.draw(&Rectangle::new(bar, colour.filled()))?;
        let spread = vec![(x(least), middle), (x(greatest), middle)];
        area.draw(&PathElement::new(spread, BLACK.stroke_width(1)))?;
        if let Some(Goal::AtMost(goal) | Goal::AtLeast(goal)) = row.goal {
            let line = vec![(x(goal), y - 4), (x(goal), y + 20)];
            area.draw(&PathElement::new(
                line,
                RGBColor(85, 168, 104).stroke_width(2),
            ))?;
        }
        let figures = format!("{median:.2}  ({:.0} {})", row.value[0], chapter.unit);
        let place = (x(reach(row)) + 8, middle);
        let left = small.clone().pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(figures, place, left))?;
    }
    Ok(())
}

/// How far to the right a row is drawn.
fn reach(row: &Row) -> f64 {
    let goal = match row.goal {
        Some(Goal::AtMost(goal) | Goal::AtLeast(goal)) => goal,
        None => 0.0,
    };
    row.compared[2].max(row.compared[0]).max(goal)
}
