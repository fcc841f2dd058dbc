//! What a long measurement shows.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over `tokens` with speed and the time left; none without a title.
pub fn progress(title: Option<&str>, tokens: usize) -> ProgressBar {
    let Some(title) = title else {
        return ProgressBar::hidden();
    };
    let template =
        "{prefix:>16} {bar:30} {percent:>3} %  {elapsed} gone, {eta} left  {per_sec} {msg}";
    let style = ProgressStyle::with_template(template).expect("the template is well-formed");
    let bar = ProgressBar::new(tokens as u64).with_style(style);
    bar.with_prefix(title.to_string()).with_message("(tokens)")
}
