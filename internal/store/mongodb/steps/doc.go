// Package steps is a MongoDB database whose writes of several documents happen wholly or not at all, with their side effects: the audit
// entries, the jobs and the idempotency record. It knows the collections of these, and of no other what is in it. It has the connection,
// bounds and observes every operation, and translates the driver's errors.
//
// # Atomic steps
//
// Writes of one document are one command. A write of several documents, or one that takes an audit entry, a job or an
// idempotency key along (hearth.SideEffects), is a step. There are no transactions: the same protocol runs on every deployment.
// docs/adr/0008-atomic-steps-without-transactions.md tells why; this is how:
//
//  1. Prepare: new documents are inserted as drafts, which nobody sees; documents to be changed are locked, if their version
//     is still the one that the step read. Both carry the step's id in their field lock.
//  2. Decide: one document is inserted into commits: it holds what is left to do, the audit entries and jobs, and the
//     idempotency record, whose key is unique there. The step has happened exactly when this document is stored.
//  3. Apply: drafts are shown, changes made and locks taken off (each only where lock is the step's id), jobs and audit entries
//     stored (each under an id of the step's). All of that may be done twice, by many and late.
//  4. Finish: the commit is removed, or cut down to its idempotency record.
//
// A write is answered after 3. Who meets the lock of another step waits for a moment and then ends that step: it inserts an
// aborted commit under the step's id, so that the step can never be decided, or finds it decided and applies it. Open and a
// goroutine do the same for what nobody meets.
//
// # How to write a store method
//
//	func (s *Store) UpdateThing(ctx context.Context, id string, change func(Thing) (Thing, error), effects hearth.SideEffects) (after Thing, err error) {
//		w := steps.Writing{Name: "UpdateThing", Line: collThings + "/" + id, Effects: effects}
//		err = s.Commit(ctx, w, func(ctx context.Context, st *steps.Step) error {
//			doc, err := steps.Load[thingDoc](ctx, st.DB, collThings, steps.ByID(id)) // waits for unfinished steps; steps.ErrGone
//			if errors.Is(err, steps.ErrGone) {
//				return hearth.NotFound("thing")
//			}
//			if err != nil {
//				return err
//			}
//			if after, err = change(doc.thing()); err != nil {
//				return err
//			}
//			st.Update(collThings, id, doc.V, steps.Set(newThingFields(after)))
//			return nil
//		})
//		return after, err
//	}
//
// The function that builds the step may run many times and only notes what is to be written. A document struct embeds Meta
// inline, with V 1 when it is new; its collection is one of Options.Lockable. Next to Update there are Insert, Remove,
// and for what hangs on the step's documents: Note (before the decision), Sweep and Purge (after it). Update with a nil
// update demands that a document stays as it was read, such as the organization that a device goes into. Reads and lists
// outside of steps use Do (DoLong for scans) and FindAll, and leave drafts out with Live. Numbers come from Take.
package steps
