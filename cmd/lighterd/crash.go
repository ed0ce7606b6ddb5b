package main

import "os"

// crashVar, when it names a step of a start (engine/container/start.go) or of another verb
// (`commit: copied`), makes lighterd end by SIGKILL when it first has taken that step. It is for the
// stories alone, which prove that the next lighterd makes whole what such a death
// leaves; being no option, neither a command line nor a configuration file can set it.
const crashVar = "LIGHTER_CRASH_AFTER"

// crashHook is what is called between the steps of verbs: nil, but in those stories.
func crashHook() func(step string) {
	after := os.Getenv(crashVar)
	if after == "" {
		return nil
	}
	return func(step string) {
		if step != after {
			return
		}
		if self, err := os.FindProcess(os.Getpid()); err == nil {
			_ = self.Kill()
		}
		select {} // the signal may take its time: nothing is to happen meanwhile
	}
}
