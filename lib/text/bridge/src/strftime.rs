// SPDX-License-Identifier: Apache-2.0
//! strftime of one fixed moment, in English, for the `strftime_now` function of chat templates.

#[derive(Clone, Copy)]
pub struct Moment {
    year: i64,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

fn is_leap(year: i64) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 => 28 + is_leap(year) as u32,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn number(text: &str, digits: usize) -> Option<u32> {
    if text.len() != digits || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

impl Moment {
    /// Reads YYYY-MM-DD, optionally followed by `T` or a space and HH:MM:SS. None if it is no such date.
    pub fn parse(text: &str) -> Option<Moment> {
        let (date, time) = match text.split_once(['T', ' ']) {
            Some((date, time)) => (date, time),
            None => (text, "00:00:00"),
        };
        let mut date = date.split('-');
        let mut time = time.split(':');
        let moment = Moment {
            year: number(date.next()?, 4)?.into(),
            month: number(date.next()?, 2)?,
            day: number(date.next()?, 2)?,
            hour: number(time.next()?, 2)?,
            minute: number(time.next()?, 2)?,
            second: number(time.next()?, 2)?,
        };
        let whole = date.next().is_none() && time.next().is_none();
        let exists = moment.year >= 1
            && (1..=12).contains(&moment.month)
            && moment.day >= 1
            && moment.day <= days_in_month(moment.year, moment.month)
            && moment.hour < 24
            && moment.minute < 60
            && moment.second < 60;
        (whole && exists).then_some(moment)
    }

    fn day_of_year(&self) -> u32 {
        (1..self.month).map(|month| days_in_month(self.year, month)).sum::<u32>() + self.day
    }

    /// 0 is Sunday.
    fn weekday(&self) -> usize {
        let before = self.year - 1;
        let days = before * 365 + before / 4 - before / 100 + before / 400 + i64::from(self.day_of_year());
        (days % 7) as usize
    }

    fn hour12(&self) -> u32 {
        (self.hour + 11) % 12 + 1
    }

    /// What one directive stands for; the error is the directive that is not supported.
    fn directive(&self, letter: char) -> Result<String, String> {
        Ok(match letter {
            'Y' => format!("{:04}", self.year),
            'y' => format!("{:02}", self.year % 100),
            'm' => format!("{:02}", self.month),
            'd' => format!("{:02}", self.day),
            'e' => format!("{:2}", self.day),
            'j' => format!("{:03}", self.day_of_year()),
            'H' => format!("{:02}", self.hour),
            'I' => format!("{:02}", self.hour12()),
            'M' => format!("{:02}", self.minute),
            'S' => format!("{:02}", self.second),
            'p' => if self.hour < 12 { "AM" } else { "PM" }.to_string(),
            'B' => MONTHS[self.month as usize - 1].to_string(),
            'b' | 'h' => MONTHS[self.month as usize - 1][..3].to_string(),
            'A' => WEEKDAYS[self.weekday()].to_string(),
            'a' => WEEKDAYS[self.weekday()][..3].to_string(),
            'w' => self.weekday().to_string(),
            'u' => ((self.weekday() + 6) % 7 + 1).to_string(),
            'U' => format!("{:02}", (self.day_of_year() + 6 - self.weekday() as u32) / 7),
            'W' => format!("{:02}", (self.day_of_year() + 6 - (self.weekday() as u32 + 6) % 7) / 7),
            'F' => format!("{:04}-{:02}-{:02}", self.year, self.month, self.day),
            'T' => format!("{:02}:{:02}:{:02}", self.hour, self.minute, self.second),
            'R' => format!("{:02}:{:02}", self.hour, self.minute),
            'n' => "\n".to_string(),
            't' => "\t".to_string(),
            '%' => "%".to_string(),
            other => return Err(format!("%{other}")),
        })
    }

    /// Formats; `%-d` and the like drop the padding. The error is the directive that is not supported.
    pub fn format(&self, format: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut chars = format.chars().peekable();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let bare = chars.next_if_eq(&'-').is_some();
            let letter = chars.next().ok_or_else(|| "%".to_string())?;
            let text = self.directive(letter)?;
            if bare && text.len() > 1 {
                let trimmed = text.trim_start_matches(['0', ' ']);
                out.push_str(if trimmed.is_empty() { "0" } else { trimmed });
            } else {
                out.push_str(&text);
            }
        }
        Ok(out)
    }
}
