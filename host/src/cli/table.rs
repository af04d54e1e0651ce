//! Tables on the terminal: a header, a line, rows.

use comfy_table::{CellAlignment, LineStyle, Row, Table, TableStyle};

/// A line below the header, and nothing else.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::new('─', '─', '─', '─'));

/// An empty table.
pub(super) fn new(header: impl Into<Row>) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_header(header);
    table
}

/// Aligns the columns from this one on to the right.
pub(super) fn align_right(table: &mut Table, from: usize) {
    for column in table.column_iter_mut().skip(from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}
