package proc

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

var policies = map[string]uint32{
	"SCHED_OTHER": unix.SCHED_NORMAL, "SCHED_FIFO": unix.SCHED_FIFO, "SCHED_RR": unix.SCHED_RR,
	"SCHED_BATCH": unix.SCHED_BATCH, "SCHED_IDLE": unix.SCHED_IDLE, "SCHED_DEADLINE": unix.SCHED_DEADLINE,
}

var schedFlags = map[string]uint64{
	"SCHED_FLAG_RESET_ON_FORK": unix.SCHED_FLAG_RESET_ON_FORK, "SCHED_FLAG_RECLAIM": unix.SCHED_FLAG_RECLAIM,
	"SCHED_FLAG_DL_OVERRUN": unix.SCHED_FLAG_DL_OVERRUN, "SCHED_FLAG_KEEP_POLICY": unix.SCHED_FLAG_KEEP_POLICY,
	"SCHED_FLAG_KEEP_PARAMS": unix.SCHED_FLAG_KEEP_PARAMS, "SCHED_FLAG_UTIL_CLAMP_MIN": unix.SCHED_FLAG_UTIL_CLAMP_MIN,
	"SCHED_FLAG_UTIL_CLAMP_MAX": unix.SCHED_FLAG_UTIL_CLAMP_MAX,
}

// Scheduler sets policy and values by their names in sched_setattr(2); times are
// nanoseconds.
func Scheduler(policy string, nice, priority int32, flags []string, runtime, deadline, period uint64) (Call, error) {
	n, ok := policies[policy]
	if !ok {
		return Call{}, fmt.Errorf("scheduler policy %q does not exist", policy)
	}
	attr := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: n, Nice: nice, Priority: uint32(priority),
		Runtime: runtime, Deadline: deadline, Period: period}
	for _, f := range flags {
		bit, ok := schedFlags[f]
		if !ok {
			return Call{}, fmt.Errorf("scheduler flag %q does not exist", f)
		}
		attr.Flags |= bit
	}
	return call(unix.SYS_SCHED_SETATTR).ptr(1, unsafe.Pointer(attr)), nil
}

// IOPriority sets class and level of disk access by the class's name in ioprio_set(2).
func IOPriority(class string, level int) (Call, error) {
	classes := map[string]uintptr{"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
	n, ok := classes[class]
	if !ok || level < 0 || level > 7 {
		return Call{}, fmt.Errorf("I/O priority %q %d does not exist", class, level)
	}
	return call(unix.SYS_IOPRIO_SET, 1, 0, n<<13|uintptr(level)), nil
}
