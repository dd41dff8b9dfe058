package sqlite

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// writeAndWait are the flags of sync_file_range(2) that write the changed pages of a range and wait for the disk.
const writeAndWait = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER

// writeBack writes the changed pages of a file to the disk by short ranges, with a pause after each that took time: a flush of all at once would
// keep the disk from the commits meanwhile. It is no flush: that comes after it, and has little left to write.
func writeBack(ctx context.Context, file *os.File) error {
	stat, err := file.Stat()
	if err != nil {
		return err
	}
	size := stat.Size()
	step := max(flushBytes, size/flushRanges)
	for at := int64(0); at < size && ctx.Err() == nil; at += step {
		start := time.Now()
		err := unix.SyncFileRange(int(file.Fd()), at, step, writeAndWait)
		switch {
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ESPIPE):
			return nil // the file system or the kernel has no such call
		case errors.Is(err, unix.EINTR):
			continue // the flush writes it
		case err != nil:
			return err
		}
		if took := time.Since(start); took >= flushNoticed {
			select {
			case <-time.After(min(took, flushPause)):
			case <-ctx.Done():
			}
		}
	}
	return nil
}
