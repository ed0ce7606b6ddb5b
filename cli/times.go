package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// unixTime turns what people write for a time — a duration before now, a date with
// more or less of a time of day, Unix seconds — into Unix seconds[.nanoseconds].
func unixTime(s string, now time.Time) (string, error) {
	if d, err := time.ParseDuration(s); s != "0" && err == nil {
		return strconv.FormatInt(now.Add(-d).Unix(), 10), nil
	}
	zoned := strings.ContainsAny(s, "zZ+") || strings.Count(s, "-") == 3
	layout, zone := "2006-01-02", ""
	if zoned {
		zone = "Z07:00"
	}
	colons := strings.Count(s, ":")
	if zoned && !strings.ContainsAny(s, "zZ") {
		colons--
	}
	switch {
	case strings.Contains(s, "."):
		layout = "2006-01-02T15:04:05.999999999"
	case !strings.Contains(s, "T"):
	case colons <= 0:
		layout = "2006-01-02T15"
	case colons == 1:
		layout = "2006-01-02T15:04"
	default:
		layout = "2006-01-02T15:04:05"
	}
	var t time.Time
	var err error
	if zoned {
		t, err = time.Parse(layout+zone, s)
	} else {
		t, err = time.ParseInLocation(layout, s, time.FixedZone(now.Zone()))
	}
	switch {
	case err == nil:
		return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond()), nil
	case strings.Contains(s, "-"):
		return "", err
	}
	seconds, nanos, ok := strings.Cut(s, ".")
	_, err = strconv.ParseInt(seconds, 10, 64)
	if ok && err == nil {
		_, err = strconv.ParseInt(nanos, 10, 64)
	}
	if err != nil {
		return "", fmt.Errorf("failed to parse value as time or duration: %q", s)
	}
	return s, nil
}
