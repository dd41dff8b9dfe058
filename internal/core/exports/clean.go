package exports

import (
	"context"
	"errors"
	"strings"
	"time"

	"hearth"
	"hearth/internal/blob"
)

const (
	cleanChunk = 100
	// abandonedAfter is how old something is before it is taken for abandoned.
	abandonedAfter = time.Hour
	// EndLostInterval is how often EndLost is to be called.
	EndLostInterval = 10 * time.Second
)

// Clean removes exports that expired with their files, and files that no export names. It returns how many of all these there were.
func (s *Service) Clean(ctx context.Context) (done int, err error) {
	for _, step := range []func(context.Context) (int, error){s.expire, s.dropOrphans} {
		n, err := step(ctx)
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// expire takes files before exports: what a crash leaves in between is found again.
func (s *Service) expire(ctx context.Context) (done int, err error) {
	for {
		expired, err := s.o.Store.ExpiredExports(ctx, s.now(), cleanChunk)
		if err != nil || len(expired) == 0 {
			return done, err
		}
		for _, e := range expired {
			if err := s.dropFiles(ctx, e.ID, ""); err != nil {
				return done, err
			}
			if err := s.o.Store.DeleteExport(ctx, e.ID, hearth.SideEffects{}); err != nil && hearth.ErrorCode(err) != hearth.CodeNotFound {
				return done, err
			}
			done++
		}
	}
}

// EndLost fails exports that wait for a job that will not run: it ended, and the end of the export could not be stored, as on a full disk; it
// died with its worker too often; or it was deleted.
func (s *Service) EndLost(ctx context.Context) error {
	now, after := s.now(), ""
	for {
		open, err := s.o.Store.OpenExports(ctx, now.Add(-EndLostInterval), after, cleanChunk)
		if err != nil || len(open) == 0 {
			return err
		}
		for _, e := range open {
			after = e.ID
			job, err := s.o.Jobs.Job(ctx, e.Job)
			switch {
			case err != nil && hearth.ErrorCode(err) != hearth.CodeNotFound:
				return err
			case err == nil && !job.State.Ended():
				continue
			case err != nil && now.Sub(e.CreatedAt) < abandonedAfter: // on its way from the outbox to the queue
				continue
			}
			if err := s.lose(ctx, e); err != nil {
				return err
			}
		}
	}
}

func (s *Service) lose(ctx context.Context, lost hearth.Export) error {
	job, err := s.notifyJob(lost, hearth.ExportFailed)
	if err != nil {
		return err
	}
	_, err = s.o.Store.UpdateExport(ctx, lost.ID, func(e hearth.Export) (hearth.Export, error) {
		if e.Run != lost.Run || e.Status != lost.Status {
			return e, errNotWanted
		}
		e.Failure = &hearth.ExportFailure{Code: hearth.CodeInternal, Message: "something went wrong on our side"}
		s.end(&e, hearth.ExportFailed)
		return e, nil
	}, hearth.SideEffects{Jobs: []hearth.OutboxJob{job}})
	if errors.Is(err, errNotWanted) || hearth.ErrorCode(err) == hearth.CodeNotFound {
		return nil
	}
	return err
}

// dropOrphans removes files that were finished just before a crash, or by a run that was not wanted any more.
func (s *Service) dropOrphans(ctx context.Context) (done int, err error) {
	list := blob.ListOptions{Prefix: "exports/"}
	for {
		page, err := s.o.Files.List(ctx, list)
		if err != nil {
			return done, err
		}
		for _, file := range page.Files {
			if file.ModTime.After(s.now().Add(-abandonedAfter)) {
				continue
			}
			id, run, _ := strings.Cut(strings.TrimPrefix(file.Key, "exports/"), ".")
			e, err := s.o.Store.Export(ctx, id)
			if err != nil && hearth.ErrorCode(err) != hearth.CodeNotFound {
				return done, err
			}
			if err == nil && (e.File == file.Key || e.Run == run && !e.Status.Ended()) {
				continue
			}
			if err := s.o.Files.Delete(ctx, file.Key); err != nil {
				return done, err
			}
			done++
		}
		if page.Next == "" {
			return done, nil
		}
		list.After = page.Next
	}
}
