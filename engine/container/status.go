package container

import (
	"fmt"
	"strconv"
	"time"
)

func itoa(n int) string { return strconv.Itoa(n) }

// status is what a person reads: Up 5 minutes (Paused), Exited (0) 3 days ago.
func (s *snapshot) status(now time.Time) string {
	switch {
	case s.phase == running && s.Health != nil:
		return fmt.Sprintf("Up %s (%s)", age(now.Sub(s.StartedAt)), healthWord(s.Health))
	case s.phase == running:
		return "Up " + age(now.Sub(s.StartedAt))
	case s.phase == paused:
		return "Up " + age(now.Sub(s.StartedAt)) + " (Paused)"
	case s.phase == restarting:
		return fmt.Sprintf("Restarting (%d) %s ago", s.ExitCode, age(now.Sub(s.FinishedAt)))
	case s.phase == removing:
		return "Removal In Progress"
	case s.phase == dead || s.phase == gone:
		return "Dead"
	case s.StartedAt.IsZero():
		return "Created"
	}
	return fmt.Sprintf("Exited (%d) %s ago", s.ExitCode, age(now.Sub(s.FinishedAt)))
}

// ages are the steps of age: below limit, so many of a unit.
var ages = []struct {
	limit, unit time.Duration
	name        string
}{
	{2 * time.Second, 0, "1 second"},
	{time.Minute, time.Second, "seconds"},
	{2 * time.Minute, 0, "About a minute"},
	{time.Hour, time.Minute, "minutes"},
	{90 * time.Minute, 0, "About an hour"}, // from here on hours are rounded to the nearest
	{48*time.Hour - 30*time.Minute, time.Hour, "hours"},
	{14*day - 30*time.Minute, day, "days"},
	{60*day - 30*time.Minute, 7 * day, "weeks"},
	{730*day - 30*time.Minute, 30 * day, "months"},
}

const day = 24 * time.Hour

// age rounds a duration to the words that Docker uses.
func age(d time.Duration) string {
	if d < time.Second {
		return "Less than a second"
	}
	for _, a := range ages {
		if d >= a.limit {
			continue
		}
		if a.unit == 0 {
			return a.name
		}
		if a.unit >= time.Hour {
			d = (d + 30*time.Minute).Truncate(time.Hour)
		}
		return fmt.Sprintf("%d %s", d/a.unit, a.name)
	}
	return fmt.Sprintf("%d years", d/(365*day))
}
