package rest

import (
	"hash/maphash"
	"net/http"
	"sync/atomic"
	"time"
)

// modifications remembers since when this instance returns the answers that it returned lately, for Last-Modified. Answers are put
// together from rows that change, come and go, and from the time: no row's time is the answer's. What was forgotten, or was
// answered by another instance, counts as new.
type modifications struct {
	seed maphash.Seed
	seen [8192]atomic.Pointer[seenAnswer]
}

// seenAnswer is the answer to a question of a caller, by its entity tag. Of the question there is a hash alone: addresses may be
// long, and one that has the hash of another and its answer too gets nothing wrong by it.
type seenAnswer struct {
	question uint64
	tag      string
	since    time.Time
}

func newModifications() *modifications { return &modifications{seed: maphash.MakeSeed()} }

// since returns the whole second since which the question is answered so. It is up to two seconds ahead: two answers never have
// the same one, since an answer has a Last-Modified only from then on.
func (m *modifications) since(question, tag string, now time.Time) time.Time {
	hash := maphash.String(m.seed, question)
	slot := &m.seen[hash%uint64(len(m.seen))]
	if known := slot.Load(); known != nil && known.question == hash && known.tag == tag {
		return known.since
	}
	since := now.Truncate(time.Second).Add(2 * time.Second)
	slot.Store(&seenAnswer{question: hash, tag: tag, since: since})
	return since
}

// notModified sets Last-Modified where it is known, and reports whether the client has the answer with that tag already. An
// If-None-Match counts alone.
func (rt *Router) notModified(w http.ResponseWriter, r *http.Request, tag string) bool {
	if r.Method != http.MethodGet {
		return false
	}
	now := rt.Now()
	since := rt.modified.since(RequestOf(r.Context()).Caller.Actor()+" "+r.URL.RequestURI(), tag, now)
	known := !now.Before(since)
	if known {
		w.Header().Set("Last-Modified", since.UTC().Format(http.TimeFormat))
	}
	if list := r.Header.Get("If-None-Match"); list != "" {
		return matchesTag(list, tag)
	}
	at, err := http.ParseTime(r.Header.Get("If-Modified-Since"))
	return known && err == nil && !since.After(at)
}
