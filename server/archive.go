package server

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"

	"lighter/api"
	"lighter/engine/container"
)

// archives answers for the files in containers.
type archives struct{ s *Server }

func (a *archives) engine() container.Files { return a.s.config.Containers.Files() }

// archivePath reads the path that an archive route is about.
func (r *request) archivePath() (string, error) {
	p := r.query.Get("path")
	if p == "" {
		return "", api.Errorf(api.Invalid, "bad parameter: pathcannot be empty")
	}
	return p, nil
}

// setPathStat puts what a path is into the headers.
func setPathStat(w http.ResponseWriter, st api.PathStat) error {
	text, err := json.Marshal(st)
	if err == nil {
		w.Header().Set(api.PathStatHeader, base64.StdEncoding.EncodeToString(text))
	}
	return err
}

func (a *archives) stat(w http.ResponseWriter, r *request) error {
	p, err := r.archivePath()
	if err != nil {
		return err
	}
	st, err := a.engine().PathStat(r.Context(), r.name, p)
	if err != nil {
		return err
	}
	return setPathStat(w, st)
}

func (a *archives) get(w http.ResponseWriter, r *request) error {
	p, err := r.archivePath()
	if err != nil {
		return err
	}
	return a.s.sendTar(w, "application/x-tar", func(begin func() io.Writer) error {
		return a.engine().CopyOut(r.Context(), r.name, p, func(st api.PathStat) io.Writer {
			_ = setPathStat(w, st) // of strings and numbers: it never errs
			return begin()
		})
	})
}

func (a *archives) put(w http.ResponseWriter, r *request) error {
	p, err := r.archivePath()
	if err != nil {
		return err
	}
	err = a.engine().CopyIn(r.Context(), r.name, p, timedBody{r.Body, http.NewResponseController(w)}, container.CopyOptions{
		Keep: r.flag("noOverwriteDirNonDir"), Owner: r.flag("copyUIDGID"),
	})
	if err != nil {
		// Docker's client complains of a body that is not taken: a short one is.
		_, _ = io.CopyN(io.Discard, r.Body, 1<<20)
	}
	return err
}

// timedBody and timedAnswer are what a client sends and is sent, with deadlines.
type (
	timedBody struct {
		io.Reader
		*http.ResponseController
	}
	timedAnswer struct {
		io.Writer
		*http.ResponseController
	}
)

// sendTar sends what write writes. What fails once it has begun can only be told by
// cutting it off: a client must not take half of it for the whole.
func (s *Server) sendTar(w http.ResponseWriter, kind string, write func(begin func() io.Writer) error) error {
	begun := false
	err := write(func() io.Writer {
		begun = true
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(http.StatusOK)
		return timedAnswer{w, http.NewResponseController(w)}
	})
	if err != nil && begun {
		s.log.Warn("a tar was not sent to its end", "error", err)
		panic(http.ErrAbortHandler)
	}
	return err
}

// statImage and getImage are ours: files of an image, without a container.
func (a *archives) statImage(w http.ResponseWriter, r *request) error {
	p, err := r.archivePath()
	if err != nil {
		return err
	}
	st, err := a.s.config.Images.Files().PathStat(r.name, p)
	if err != nil {
		return err
	}
	return setPathStat(w, st)
}

func (a *archives) getImage(w http.ResponseWriter, r *request) error {
	p, err := r.archivePath()
	if err != nil {
		return err
	}
	return a.s.sendTar(w, "application/x-tar", func(begin func() io.Writer) error {
		return a.s.config.Images.Files().CopyOut(r.Context(), r.name, p, func(st api.PathStat) io.Writer {
			_ = setPathStat(w, st) // of strings and numbers: it never errs
			return begin()
		})
	})
}

// compare is ours, too: what is different between two containers or images.
func (a *archives) compare(w http.ResponseWriter, r *request) error {
	to := r.query.Get("to")
	if to == "" {
		return api.Errorf(api.Invalid, "bad parameter: to names the container or image to compare")
	}
	number, err := r.integer("layer")
	if err != nil {
		return err
	}
	if number == nil {
		number = new(int)
	}
	from := r.query.Get("from")
	for _, side := range []*string{&from, &to} {
		if *side == "" {
			continue
		}
		if *side, err = r.grant.either(*side); err != nil {
			return err
		}
	}
	list, err := a.engine().Compare(r.Context(), from, to, *number)
	return ok(w, list, err)
}
