package container

import (
	"errors"
	"os"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/api"
	"lighter/task"
)

// process makes what all processes of a container have in common: the user, the
// environment and the working folder. root is the container's root file system.
func (d *Deps) process(s *snapshot, root *os.File, user string, tty bool, env ...string) (*specs.Process, error) {
	who, err := lookup(d.Rootfs, root, user, s.Host.GroupAdd)
	if err != nil {
		return nil, err
	}
	adj := s.Host.OomScoreAdj
	p := &specs.Process{
		Terminal: tty, User: who.User, Cwd: s.Config.WorkingDir, Env: withHome(environ(s.Config, tty, env), who.home),
		Rlimits: posixRlimits(s.Host.Ulimits), OOMScoreAdj: &adj,
	}
	if p.Cwd == "" {
		p.Cwd = "/"
	}
	return p, nil
}

// withHome adds HOME, from the passwd file of the container, unless it is set.
func withHome(env []string, home string) []string {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "HOME="); ok && v != "" {
			return env
		}
	}
	if home == "" {
		home = "/"
	}
	return override(env, []string{"HOME=" + home})
}

// startErrorf makes an error of a start that Docker would get from its runtime.
func startErrorf(code int, format string, args ...any) error {
	return runtimeError(runPrefix, taskError(code, format, args...))
}

// What Docker's layers say before what the runtime says: of a spec that it refuses,
// of a program that does not start.
const (
	specPrefix = "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: "
	runPrefix  = specPrefix + initPrefix
	initPrefix = "unable to start container process: error during container init: "
	ociPrefix  = "failed to create task for container: failed to create shim task: OCI runtime create failed: " // of a runtime of the user's
	execPrefix = "OCI runtime exec failed: exec failed: unable to start container process: "
)

// Unstarted words why the program of a build's step does not start: as the classic builder, or as BuildKit prints it.
func Unstarted(e *task.StartError, classic bool) string {
	if classic {
		return runPrefix + e.Msg
	}
	return "runc run failed: " + initPrefix + e.Msg
}

// failure is why a process could not be started: the exit code that stands for it,
// and the error that the client sees.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// codeOf is the exit code that an error stands for.
func codeOf(err error) int {
	var f *failure
	if errors.As(err, &f) {
		return f.code
	}
	return 128
}

// classify reads exit code and kind off an error's text, as Docker does and as its
// clients do again: 126 for what cannot be run, 127 for what is not there.
func classify(err error) error {
	var f *failure
	if errors.As(err, &f) {
		return err
	}
	text := err.Error()
	low := strings.ToLower(text)
	code, kind := 128, api.Invalid
	switch {
	case strings.Contains(low, "permission denied"):
		code = 126
	case strings.Contains(low, "is a directory"):
		code, text = 126, text+": permission denied"
	case strings.Contains(low, "not a directory"):
		code = 127
		text += ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type"
	case strings.Contains(low, "executable file not found"), strings.Contains(low, "no such file or directory"):
		code = 127
	default:
		kind = api.KindOf(err)
	}
	return &failure{code: code, err: &api.Error{Kind: kind, Msg: text, Err: err}}
}
