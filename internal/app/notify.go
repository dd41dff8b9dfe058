package app

import "hearth/internal/core/notify"

// noticeField names what seals the personal parts of jobs that tell people something.
const noticeField = "notice"

// openNotify builds what tells people. It comes before the parts that have something to tell.
func (a *App) openNotify() (err error) {
	a.notify, err = notify.New(notify.Options{
		Store: a.store, People: a.store, Devices: a.store, Roles: a.orgs.Roles, Queue: a.queue, Publisher: a.events, Clock: a.options.Clock, Logger: a.log,
		PublicURL: a.publicURL(), Exports: a.store, Settle: a.options.DeviceSettle,
		Sealer: a.sealer(noticeField),
	})
	return err
}
