//! The columns of the table, and the selection of those that fit.

use super::figures::Row;

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) head: &'static str,
    /// Whether the column is right-aligned.
    pub(super) is_number: bool,
    /// When there is no room, the column with the highest rank is removed first.
    rank: u8,
    text: fn(&Row) -> String,
}

/// The columns in their order of display.
const ALL: [Column; 14] = [
    column("SLOT", true, 0, |row| row.slot.to_string()),
    column("PID", true, 4, |row| row.pid.clone()),
    column("STATE", false, 0, |row| row.state.clone()),
    column("AGE", true, 5, |row| row.age.clone()),
    column("↺", true, 6, |row| row.restarts.clone()),
    column("CPU%", true, 1, |row| row.cpu.clone()),
    column("ELU%", true, 1, |row| row.elu.clone()),
    column("DELAYp99", true, 3, |row| row.delay.clone()),
    column("RSS", true, 2, |row| row.memory.clone()),
    column("OPEN", true, 2, |row| row.open.clone()),
    column("INFL", true, 9, |row| row.in_flight.clone()),
    column("CONN/s", true, 7, |row| row.rate.clone()),
    column("FDS", true, 10, |row| row.fds.clone()),
    column("LAST", false, 8, |row| row.last.clone()),
];

const fn column(head: &'static str, is_number: bool, rank: u8, text: fn(&Row) -> String) -> Column {
    Column { head, is_number, rank, text }
}

/// The minimum and maximum width of the last column.
const LAST: (usize, usize) = (12, 60);

impl Column {
    pub(super) fn text(self, row: &Row) -> String {
        (self.text)(row)
    }

    /// The width of its widest cell.
    fn width(self, rows: &[Row]) -> usize {
        let widest = rows.iter().map(|row| self.text(row).chars().count()).max().unwrap_or(0);
        let width = widest.max(self.head.chars().count());
        if self.head == "LAST" { width.clamp(LAST.0, LAST.1) } else { width }
    }
}

/// The columns that fit, with their widths; one space separates them.
pub(super) fn fitting(rows: &[Row], width: usize) -> Vec<(Column, usize)> {
    let mut columns: Vec<(Column, usize)> = ALL.iter().map(|column| (*column, column.width(rows))).collect();
    let needed = |columns: &[(Column, usize)]| columns.iter().map(|(_, width)| width + 1).sum::<usize>();
    while needed(&columns) > width + 1 {
        let Some(last) = columns.iter_mut().find(|(column, _)| column.head == "LAST") else {
            let Some(place) = worst(&columns) else { break };
            columns.remove(place);
            continue;
        };
        // Its text is truncated before another column is removed.
        if last.1 > LAST.0 {
            last.1 -= 1;
        } else if let Some(place) = worst(&columns) {
            columns.remove(place);
        } else {
            break;
        }
    }
    columns
}

/// The column to remove next.
fn worst(columns: &[(Column, usize)]) -> Option<usize> {
    let worst = columns.iter().enumerate().max_by_key(|(_, (column, _))| column.rank)?;
    (worst.1.0.rank > 0).then_some(worst.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(width: usize) -> Vec<&'static str> {
        let rows =
            [Row { state: "serving".into(), last: "it was killed by SIGKILL".into(), ..Row::default() }];
        fitting(&rows, width).into_iter().map(|(column, _)| column.head).collect()
    }

    #[test]
    fn a_wide_terminal_shows_all_columns() {
        assert_eq!(heads(200), ALL.map(|column| column.head));
    }

    #[test]
    fn a_narrow_terminal_shows_fewer_columns() {
        assert_eq!(heads(80).len(), 14, "what ended a worker is cut off first");
        assert_eq!(heads(39), ["SLOT", "STATE", "CPU%", "ELU%", "RSS", "OPEN"]);
        assert_eq!(heads(1), ["SLOT", "STATE"], "without these it says nothing");
        for width in 14..200 {
            let rows = [Row { state: "serving".into(), ..Row::default() }];
            let used: usize = fitting(&rows, width).iter().map(|(_, width)| width + 1).sum();
            assert!(used <= width + 1, "{width}");
        }
    }
}
