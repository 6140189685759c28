//! `strftime_now`, of a time that the caller gives: there is no clock here.

use std::fmt::Write as _;

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
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// A time of day in UTC, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Date {
    year: i64,
    month: usize,
    day: i64,
    day_of_week: usize,
    second_of_day: i64,
}

impl Date {
    /// From seconds since 1970, by Howard Hinnant's `civil_from_days`.
    fn new(unix_s: i64) -> Self {
        let days = unix_s.div_euclid(86_400);
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        // March is month 0 here, so that the leap day ends the year.
        let month = (5 * day_of_year + 2) / 153;
        let year = year_of_era + era * 400 + i64::from(month >= 10);
        Self {
            year,
            month: usize::try_from((month + 2) % 12).unwrap_or(0),
            day: day_of_year - (153 * month + 2) / 5 + 1,
            day_of_week: usize::try_from(days.rem_euclid(7)).unwrap_or(0),
            second_of_day: unix_s.rem_euclid(86_400),
        }
    }
}

/// `pattern` with the parts of the time. What we do not know is an error, by its letter.
pub(super) fn format(unix_s: i64, pattern: &str) -> Result<String, char> {
    let date = Date::new(unix_s);
    let mut text = String::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        match letters.next() {
            // `%-d`: without a leading zero.
            Some('-') => part(&mut text, &date, letters.next().unwrap_or('-'), 1)?,
            other => part(&mut text, &date, other.unwrap_or('%'), 2)?,
        }
    }
    Ok(text)
}

fn part(text: &mut String, date: &Date, letter: char, width: usize) -> Result<(), char> {
    let (hour, minute) = (date.second_of_day / 3_600, date.second_of_day / 60 % 60);
    let number = match letter {
        'd' => date.day,
        'm' => i64::try_from(date.month).unwrap_or(0) + 1,
        'y' => date.year.rem_euclid(100),
        'Y' => date.year,
        'H' => hour,
        'I' => (hour + 11) % 12 + 1,
        'M' => minute,
        'S' => date.second_of_day % 60,
        _ => {
            text.push_str(match letter {
                'B' => MONTHS[date.month],
                'b' => &MONTHS[date.month][..3],
                'A' => DAYS[date.day_of_week],
                'a' => &DAYS[date.day_of_week][..3],
                'p' => ["AM", "PM"][usize::from(hour >= 12)],
                '%' => "%",
                other => return Err(other),
            });
            return Ok(());
        }
    };
    write!(text, "{number:0width$}").expect("a String takes everything");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(unix_s: i64, pattern: &str, expect: &str) {
        assert_eq!(format(unix_s, pattern), Ok(expect.to_owned()));
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        check(0, "%Y-%m-%d %A", "1970-01-01 Thursday");
        check(951_782_400, "%d %b %Y", "29 Feb 2000");
        check(1_735_689_599, "%B %-d, %Y %H:%M:%S", "December 31, 2024 23:59:59");
        check(-1, "%d/%m/%y %I %p %a", "31/12/69 11 PM Wed");
        check(4_107_542_400, "%d %m %Y", "01 03 2100");
    }

    #[test]
    fn what_is_not_known_is_named() {
        assert_eq!(format(0, "100%% %Q"), Err('Q'));
    }
}
