package proc

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// ClockSynced tells whether something keeps the machine's clock right (adjtimex(2)).
func ClockSynced() (bool, error) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return false, fmt.Errorf("ask for the clock's state: %w", err)
	}
	return state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0, nil
}
