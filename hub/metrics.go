package hub

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"lighter/hub/meta"
)

// metrics is what /metrics tells.
type metrics struct {
	handler  http.Handler
	requests *prometheus.CounterVec // by kind of path, method, status
	seconds  *prometheus.HistogramVec
	sent     *prometheus.CounterVec // bytes, by kind
}

func newMetrics(r *prometheus.Registry, db *meta.DB, log *slog.Logger) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "lighterhub_http_requests_total", Help: "Requests that were answered."},
			[]string{"kind", "method", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "lighterhub_http_request_seconds", Help: "How long requests took.",
			Buckets: []float64{.001, .005, .025, .1, .5, 2.5, 10, 60}}, []string{"kind"}),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "lighterhub_http_sent_bytes_total", Help: "Bytes of answers' bodies."}, []string{"kind"}),
	}
	r.MustRegister(m.requests, m.seconds, m.sent, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), newInventory(db, log))
	m.handler = promhttp.HandlerFor(r, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError), MaxRequestsInFlight: 4})
	return m
}

// inventory counts what the hub keeps, when somebody asks.
type inventory struct {
	db    *meta.DB
	log   *slog.Logger
	gauge []counted
}

type counted struct {
	desc  *prometheus.Desc
	query string
}

func newInventory(db *meta.DB, log *slog.Logger) *inventory {
	gauge := func(name, help, query string) counted {
		return counted{prometheus.NewDesc("lighterhub_"+name, help, nil, nil), query}
	}
	return &inventory{db, log, []counted{
		gauge("repositories", "Repositories.", `SELECT count(*) FROM repositories`),
		gauge("manifests", "Manifests in repositories.", `SELECT count(*) FROM manifests`),
		gauge("tags", "Tags.", `SELECT count(*) FROM tags`),
		gauge("blobs", "Blobs in the storage.", `SELECT count(*) FROM blobs`),
		gauge("blob_bytes", "Bytes of the blobs in the storage.", `SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM blobs`),
		gauge("uploads", "Uploads that are open.", `SELECT count(*) FROM uploads`),
	}}
}

// Describe is prometheus.Collector's.
func (i *inventory) Describe(to chan<- *prometheus.Desc) {
	for _, g := range i.gauge {
		to <- g.desc
	}
}

// Collect is prometheus.Collector's.
func (i *inventory) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // prometheus hands none in
	defer cancel()
	for _, g := range i.gauge {
		var n float64
		if err := i.db.QueryRow(ctx, g.query).Scan(&n); err != nil {
			i.log.Error("what the hub keeps could not be counted", "error", err)
			to <- prometheus.NewInvalidMetric(g.desc, err)
			continue
		}
		to <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, n)
	}
}

// recorder remembers what was answered. It lets the ways through that make files go out
// by sendfile and that set deadlines.
type recorder struct {
	http.ResponseWriter
	begun  time.Time
	status int
	bytes  int64
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	n, err := r.ResponseWriter.Write(p)
	r.bytes += int64(n)
	return n, err
}

// ReadFrom is how http.ServeContent sends a file.
func (r *recorder) ReadFrom(from io.Reader) (n int64, err error) {
	if to, ok := r.ResponseWriter.(io.ReaderFrom); ok {
		n, err = to.ReadFrom(from)
	} else {
		n, err = io.Copy(struct{ io.Writer }{r.ResponseWriter}, from)
	}
	r.bytes += n
	return n, err
}

// Unwrap is http.ResponseController's.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// done counts an answer, and logs it: what changes something and what went wrong for all
// to see, the rest for who wants it.
func (s *Server) done(rec *recorder, r *http.Request, kind string) {
	took := time.Since(rec.begun)
	if rec.status == 0 {
		rec.status = http.StatusOK
	}
	method := r.Method
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
	default:
		method = "other" // strangers make up as many as they like
	}
	s.metrics.requests.WithLabelValues(kind, method, strconv.Itoa(rec.status)).Inc()
	s.metrics.seconds.WithLabelValues(kind).Observe(took.Seconds())
	s.metrics.sent.WithLabelValues(kind).Add(float64(rec.bytes))
	level := slog.LevelDebug
	if rec.status >= 500 || method == "PUT" || method == "DELETE" {
		level = slog.LevelInfo
	}
	if s.cfg.Log.Enabled(r.Context(), level) {
		s.cfg.Log.Log(r.Context(), level, "request", "method", method, "path", r.URL.Path, "status", rec.status, "bytes", rec.bytes,
			"took", took, "from", s.accounts.From(r), "agent", r.UserAgent())
	}
}
