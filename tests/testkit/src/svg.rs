//! What the plots of measurements have in common: one look, legible on a light and on a dark page.

/// Classes: `title`, `quiet` texts, `grid` lines; `line`, `dot` and `spread` of the first series, and of a second and third
/// one with `second` and `third` besides.
const STYLE: &str = "
  text { font: 12px system-ui, sans-serif; fill: #24292f }
  .title { font-weight: 600; font-size: 13px }
  .quiet { fill: #57606a }
  .grid { stroke: #d0d7de; stroke-width: 1 }
  .line { fill: none; stroke: #0969da; stroke-width: 2 }
  .dot { fill: #0969da }
  .spread { stroke: #0969da; stroke-width: 1 }
  .second { stroke: #cf222e }
  .second.dot { fill: #cf222e; stroke: none }
  .third { stroke: #9a6700 }
  .third.dot { fill: #9a6700; stroke: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .quiet { fill: #9198a1 }
    .grid { stroke: #3d444d }
    .line, .spread { stroke: #58a6ff }
    .dot { fill: #58a6ff }
    .second { stroke: #ff7b72 }
    .second.dot { fill: #ff7b72 }
    .third { stroke: #d29922 }
    .third.dot { fill: #d29922 }
  }
";

/// A drawing of this size in pixels, with a text for those who cannot see it.
pub fn document((width, height): (f64, f64), label: &str, drawing: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-label=\"{label}\">\n\
         <style>{STYLE}</style>\n{drawing}</svg>\n"
    )
}
