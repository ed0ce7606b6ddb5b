package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// agents finds the sockets of ssh agents that --ssh names, and starts an agent for keys. Stop ends what
// was started.
func (o *buildFlags) agents(a *App) (_ map[string]string, stop func(), err error) {
	stop = func() {}
	if len(o.ssh) == 0 {
		return nil, stop, nil
	}
	host, err := a.host()
	if err == nil && !strings.HasPrefix(host, "unix://") {
		err = fmt.Errorf("--ssh needs an engine on this machine: the agent's socket cannot be reached from %s", host)
	}
	if err != nil {
		return nil, stop, err
	}
	list := map[string]string{}
	var stops []func()
	stop = func() {
		for _, f := range stops {
			f()
		}
	}
	for _, s := range o.ssh {
		id, paths, _ := strings.Cut(s, "=")
		if _, twice := list[id]; twice {
			return nil, stop, fmt.Errorf("duplicate --ssh %s", id)
		}
		if paths == "" {
			paths = os.Getenv("SSH_AUTH_SOCK")
		}
		if paths == "" {
			return nil, stop, fmt.Errorf("invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set, or say --ssh %s=socket", id)
		}
		keys := strings.Split(paths, ",")
		st, err := os.Stat(keys[0])
		switch {
		case err != nil:
			return nil, stop, fmt.Errorf("--ssh %s: %w", id, err)
		case st.Mode()&os.ModeSocket != 0 && len(keys) > 1:
			return nil, stop, fmt.Errorf("--ssh %s: only a single socket allowed", id)
		case st.Mode()&os.ModeSocket != 0:
			list[id], err = filepath.Abs(keys[0])
		default:
			var end func()
			if list[id], end, err = agentOf(keys); end != nil {
				stops = append(stops, end)
			}
		}
		if err != nil {
			return nil, stop, fmt.Errorf("--ssh %s: %w", id, err)
		}
	}
	return list, stop, nil
}

// agentOf starts ssh-agent with keys in it.
func agentOf(keys []string) (socket string, stop func(), err error) {
	program, err := exec.LookPath("ssh-agent")
	if err != nil {
		return "", nil, errors.New("keys are held by ssh-agent, which is not in PATH: install openssh, or name the socket of an agent")
	}
	// Not in $TMPDIR, which may be long: the path of a socket is a hundred bytes at most.
	dir, err := os.MkdirTemp("/tmp", "lighter-ssh")
	if err != nil {
		return "", nil, err
	}
	socket = filepath.Join(dir, "agent")
	agent := exec.Command(program, "-D", "-a", socket)
	agent.Env = append(os.Environ(), "SSH_AGENT_PID=")
	var complaint bytes.Buffer
	agent.Stderr = &complaint
	ready, err := agent.StdoutPipe() // it tells of its socket when it listens
	if err == nil {
		err = agent.Start()
	}
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	end := sync.OnceFunc(func() {
		_ = agent.Process.Kill() // it may have ended
		_ = agent.Wait()
		_ = os.RemoveAll(dir)
	})
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		end()
		return "", nil, fmt.Errorf("ssh-agent did not start: %s", strings.TrimSpace(complaint.String()))
	}
	add := exec.Command("ssh-add", append([]string{"-q"}, keys...)...)
	add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+socket)
	if out, err := add.CombinedOutput(); err != nil {
		return "", end, fmt.Errorf("ssh-add: %s", strings.TrimSpace(string(out)))
	}
	return socket, end, nil
}
