package image

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// when reads the value of an until filter: a duration before now ("24h"), a time of
// RFC 3339 with as much of it as people care to write (in the time zone of now when
// none is written), or seconds since 1970 with a fraction.
func when(value string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(value); value != "0" && err == nil {
		return now.Add(-d).Truncate(time.Second), nil
	}
	zoned := strings.ContainsAny(value, "zZ+") || strings.Count(value, "-") == 3
	layout := "2006-01-02"
	switch {
	case strings.Contains(value, "."):
		layout = "2006-01-02T15:04:05.999999999"
	case strings.Contains(value, "T"):
		colons := strings.Count(value, ":")
		if zoned && !strings.ContainsAny(value, "zZ") && colons > 0 {
			colons--
		}
		layout = [...]string{"2006-01-02T15", "2006-01-02T15:04", "2006-01-02T15:04:05"}[min(colons, 2)]
	}
	var t time.Time
	var err error
	if zoned {
		t, err = time.Parse(layout+"Z07:00", value)
	} else {
		t, err = time.ParseInLocation(layout, value, now.Location())
	}
	if err == nil {
		return t, nil
	}
	if strings.Contains(value, "-") {
		return time.Time{}, err
	}
	whole, fraction, _ := strings.Cut(value, ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	var nanos int64
	if err == nil && fraction != "" {
		nanos, err = strconv.ParseInt(fraction, 10, 64)
		nanos = int64(float64(nanos) * math.Pow10(9-len(fraction)))
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("failed to parse value as time or duration: %q", value)
	}
	return time.Unix(seconds, nanos), nil
}
