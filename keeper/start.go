package keeper

import (
	"errors"
	"fmt"
	"os"
	"time"

	"lighter/linux/proc"
	"lighter/task"
)

// start starts a process and gives it without anything of it moving yet.
func (s *server) start(req *parcel) (_ *process, err error) {
	if req.Name == nil || req.Stdio == nil {
		return nil, errors.New("a start without a name")
	}
	if err := s.reserve(*req.Name); err != nil {
		return nil, err
	}
	s.starting.RLock()
	defer s.starting.RUnlock()
	now := time.Now()
	p := s.newProcess(record{Name: *req.Name, Run: now.UnixNano(), At: now, Stdio: *req.Stdio})
	if req.Log != nil {
		p.Log = *req.Log
	}
	defer func() {
		if err != nil {
			p.release()
			s.unreserve(p.Name)
		}
	}()
	s.predecessor(p.Name)
	e, err := p.tie()
	if err != nil {
		return nil, err
	}
	if req.Op == opExec {
		err = s.launchExec(p, req, e)
	} else {
		err = s.launchFirst(p, req, e)
	}
	if err != nil {
		return nil, err
	}
	p.untie()
	for _, c := range req.Clients {
		if fd := req.take(fdConn); fd >= 0 {
			c.Conn = fd.Poll("client")
			if err := p.attach(c); err != nil {
				complain("attach to "+p.Name.String(), err)
			}
		}
	}
	return p, nil
}

// by is what starts the processes of a container.
func by(s *server, r *task.Runtime) launcher {
	if r != nil {
		return foreign{s.dirs}
	}
	return s.launcher
}

func (s *server) launchFirst(p *process, req *parcel, e ends) error {
	if req.Spec == nil || req.Spec.Linux == nil || req.Spec.Process == nil {
		return errors.New("a launch without a spec")
	}
	p.Cgroup = req.Spec.Linux.CgroupsPath
	// Before there is anything to clean up, note where to look for it.
	p.Runtime = req.Runtime
	if err := s.dirs.writeLife(p.Name.Container, life{Cgroup: p.Cgroup, Runtime: p.Runtime}); err != nil {
		return err
	}
	rootfs := req.take(fdRootfs).File("rootfs")
	if rootfs != nil {
		defer rootfs.Close()
	}
	sources := map[string]*os.File{}
	for _, dest := range req.Sources {
		if f := req.take(fdSource).File(dest); f != nil {
			defer f.Close()
			sources[dest] = f
		}
	}
	c, err := by(s, p.Runtime).start(s.ctx, req, roots{rootfs, sources}, e)
	if err != nil {
		return err
	}
	return p.born(c)
}

func (s *server) launchExec(p *process, req *parcel, e ends) error {
	if req.Process == nil {
		return errors.New("an exec without a process")
	}
	s.mu.Lock()
	target := s.procs[task.Name{Container: p.Name.Container}]
	s.mu.Unlock()
	if target == nil {
		return fmt.Errorf("container %s is not running", p.Name.Container)
	}
	p.Cgroup, p.Log.Path = target.Cgroup, "" // execs are not logged
	c, err := by(s, target.Runtime).exec(s.ctx, target, req, e)
	if err != nil {
		return err
	}
	return p.born(c)
}

// born takes what came of a start. A process whose terminal cannot be used is ended.
func (p *process) born(c *child) error {
	p.Pid, p.pidfd, p.Filter = c.pid, c.pidfd, c.filter
	if c.console == nil {
		return nil
	}
	if err := p.console(c.console); err != nil {
		proc.Send(c.pidfd, 9)
		c.console.Close()
		return err
	}
	return nil
}
