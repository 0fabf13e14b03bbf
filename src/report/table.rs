//! Plain columns, as kubectl and dapr print them.

use comfy_table::{Table, presets};

use crate::text::one_line;

const GAP: u16 = 2;

/// Sets `rows` under `head`, which `None` leaves out. Every cell stays on its line, whatever is in it.
pub fn columns<const N: usize>(head: Option<[&str; N]>, rows: &[[String; N]]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if let Some(head) = head {
        table.set_header(head);
    }
    for row in rows {
        table.add_row(row.iter().map(|cell| one_line(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    table.trim_fmt()
}
