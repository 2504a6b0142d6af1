use super::*;
use proptest::prelude::*;

/// Monday, 23 November 2026, 00:00.
const MONDAY: u64 = 1_795_392_000;

fn closed(opens: u64, lasts: u64) -> Opening {
    Opening::Closed { opens, lasts: lasts * 60 }
}

fn windows(texts: &[&str]) -> Windows {
    Windows::parse(texts).unwrap()
}

/// Day of the week (0 is Monday), hour and minute in that week.
fn at(day: u64, hour: u64, minute: u64) -> u64 {
    MONDAY + day * DAY + hour * 3600 + minute * 60
}

#[test]
fn a_window_is_open_from_its_first_second_to_before_its_last_minute() {
    let windows = windows(&["Sat,Sun 02:00-05:00"]);
    assert_eq!(windows.at(at(5, 2, 0) - 1), closed(at(5, 2, 0), 180));
    assert_eq!(windows.at(at(5, 2, 0)), Opening::Open);
    assert_eq!(windows.at(at(6, 5, 0) - 1), Opening::Open);
    assert_eq!(windows.at(at(6, 5, 0)), closed(at(12, 2, 0), 180));
}

#[test]
fn a_window_that_ends_before_it_begins_ends_on_the_next_day_even_over_the_end_of_the_week() {
    let windows = windows(&["Sun 22:30-04:00"]);
    assert_eq!(windows.at(at(6, 22, 30)), Opening::Open);
    assert_eq!(windows.at(at(7, 3, 59)), Opening::Open);
    assert_eq!(windows.at(at(0, 4, 0)), closed(at(6, 22, 30), 330));
    assert_eq!(windows.at(at(1, 1, 0)), closed(at(6, 22, 30), 330));
}

#[test]
fn the_nearest_of_several_windows_comes_next_and_none_at_all_are_any_time() {
    let several = windows(&["Wed 01:00-02:00", "Tue 23:00-24:00"]);
    assert_eq!(several.at(at(0, 0, 0)), closed(at(1, 23, 0), 60));
    assert_eq!(several.at(at(2, 0, 0)), closed(at(2, 1, 0), 60));
    assert_eq!(windows(&[]).at(12345), Opening::Open);
}

#[test]
fn days_may_be_listed_ranged_or_all() {
    for (text, stated) in [
        ("Mon-Fri 01:00-02:00", "Mon,Tue,Wed,Thu,Fri 01:00-02:00"),
        ("Fri-Mon 01:00-02:00", "Mon,Fri,Sat,Sun 01:00-02:00"),
        ("Sun,Mon-Tue 00:00-24:00", "Mon,Tue,Sun 00:00-24:00"),
        ("Mon-Sun 23:59-00:00", "daily 23:59-24:00"),
        ("daily 03:00-02:59", "daily 03:00-02:59"),
    ] {
        assert_eq!(Window::parse(text).unwrap().to_string(), stated);
    }
}

#[test]
fn what_is_no_window_is_refused_in_its_own_words() {
    for bad in [
        "",
        "daily",
        "02:00-05:00",
        "Sat 2:00-05:00",
        "Sat 02:00-25:00",
        "Sat 02:60-03:00",
        "Sat 24:00-01:00",
        "sat 02:00-03:00",
        "Sat, Sun 02:00-03:00",
        "Sat  02:00-03:00",
        "Sat 02:00-03:00 ",
        "Sat 02:00–03:00",
        "Mon-Tue-Wed 01:00-02:00",
        ",Sat 01:00-02:00",
        "Sat 24:01-03:00",
        "Sat +2:00-03:00",
        "daily,Sat 01:00-02:00",
    ] {
        assert_eq!(Window::parse(bad), Err(WindowFault::Form(bad.to_owned())));
    }
    assert_eq!(Window::parse("Sat 02:00-02:00"), Err(WindowFault::Empty("Sat 02:00-02:00".to_owned())));
    assert!(
        matches!(Window::parse(&"x".repeat(1 << 20)), Err(WindowFault::Form(text)) if text.len() == WINDOW_CHARS_MAX)
    );
    assert_eq!(Windows::parse(&["daily 01:00-02:00"; WINDOWS_MAX + 1]), Err(WindowFault::TooMany));
}

fn any_window() -> impl Strategy<Value = Window> {
    let days = any::<[bool; 7]>().prop_filter("some day", |days| days.contains(&true));
    (days, 0..MINUTES_PER_DAY, 1..=MINUTES_PER_DAY).prop_filter_map("a form", |(days, begin, minutes)| {
        // A whole day has one form only: from midnight to midnight.
        (minutes < MINUTES_PER_DAY || begin == 0).then_some(Window { days, begin, minutes })
    })
}

/// The same question, answered by counting days from 1970.
fn is_open(window: &Window, at: u64) -> bool {
    (at / DAY - 1..=at / DAY).any(|day| {
        let on = window.days[usize::try_from((day + 3) % 7).unwrap()];
        let begin = day * DAY + u64::from(window.begin) * 60;
        on && (begin..begin + u64::from(window.minutes) * 60).contains(&at)
    })
}

proptest! {
    #[test]
    fn every_window_survives_text_and_back(window in any_window()) {
        prop_assert_eq!(Window::parse(&window.to_string()), Ok(window));
    }

    #[test]
    fn open_is_what_the_calendar_says(
        windows in prop::collection::vec(any_window(), 1..4),
        at in DAY..(1 << 40),
    ) {
        let calendar = |at| windows.iter().any(|window| is_open(window, at));
        let all = Windows(windows.clone());
        match all.at(at) {
            Opening::Open => prop_assert!(calendar(at)),
            Opening::Closed { opens, .. } => {
                prop_assert!(!calendar(at) && opens > at && calendar(opens) && !calendar(opens - 1));
                // Nothing opens on the way there: the minutes are few enough to try them all.
                let minutes = (at..opens).step_by(60).filter(|minute| calendar(*minute)).count();
                prop_assert_eq!(minutes, 0);
            }
        }
    }

    #[test]
    fn any_text_is_a_window_or_refused(text: String, near in "[MonTueSat,dily]{1,9} [0-9:-]{9,12}", at: u64) {
        for text in [text, near] {
            if let Ok(windows) = Windows::parse(&[text]) {
                windows.at(at);
            }
        }
    }
}
