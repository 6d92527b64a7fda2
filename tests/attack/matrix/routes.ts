import { type Row, readTable } from "./table.ts";

// What comes of every route for everybody. The columns: owner, admin, member, blocked (a member whom the
// owner has blocked), former member, stranger, somebody with nothing but a ticket of the stranger's,
// anonymous, revoked session, expired token; see table.ts for the letters. The anonymous, the revoked and the
// expired learn nothing: not even whether there is what they ask for.

/** Who signs in, and who runs the server, has shown nothing yet. */
const open = `
200  200  200  200  200  200  200  200  200  200  GET /healthz
200  200  200  200  200  200  200  200  200  200  GET /readyz
200  200  200  200  200  200  200  200  200  200  GET /metrics
200  200  200  200  200  200  200  200  200  200  GET /openapi.json
200  200  200  200  200  200  200  200  200  200  GET /asyncapi.json
200  200  200  200  200  200  200  200  200  200  GET /docs
201  201  201  201  201  201  201  201  201  201  POST /auth/register
200  200  200  200  200  200  200  200  200  200  POST /auth/login
401c 401c 401c 401c 401c 401c 401c 401c 401c 401c POST /auth/login : with a wrong password
200  200  200  200  200  200  200  200  200  200  POST /auth/refresh
401t 401t 401t 401t 401t 401t 401t 401t 401t 401t POST /auth/refresh : with an access token
`;

/** What belongs to whoever asks. */
const own = `
204  204  204  204  204  204  401u 401u 401r 401u POST /auth/logout
200  200  200  200  200  200  401u 401u 401r 401u GET /auth/sessions
204  204  204  204  204  204  401u 401u 401r 401u DELETE /auth/sessions/{id} : one's own
204  404s 404s 404s 404s 404s 401u 401u 401r 401u DELETE /auth/sessions/{id} : the owner's
201  201  201  201  201  201  401u 401u 401r 401u POST /auth/tickets
200  200  200  200  200  200  401u 401u 401r 401u GET /users/me
200  200  200  200  200  200  401u 401u 401r 401u PATCH /users/me
200  200  200  200  200  200  401u 401u 401r 401u PATCH /users/me : the password
401c 401c 401c 401c 401c 401c 401u 401u 401r 401u PATCH /users/me : the password, with a wrong one
400i 400i 400i 400i 400i 400i 401u 401u 401r 401u PATCH /users/me : with the owner's id
204  204  204  204  204  204  401u 401u 401r 401u DELETE /users/me
401c 401c 401c 401c 401c 401c 401u 401u 401r 401u DELETE /users/me : with a wrong password
200  200  200  200  200  200  401u 401u 401r 401u GET /users/me/blocks
204  204  204  204  204  204  401u 401u 401r 401u PUT /users/me/avatar
204  204  204  204  204  204  401u 401u 401r 401u DELETE /users/me/avatar
200  200  200  200  200  200  401u 401u 401r 401u GET /discussions
200  200  200  200  200  200  401u 401u 401r 401u GET /discussions : public ones
201  201  201  201  201  201  401u 401u 401r 401u POST /discussions : a group
201  201  201  201  201  201  401u 401u 401r 401u POST /discussions : a group with the owner
201  201  201  403b 201  201  401u 401u 401r 401u POST /discussions : with the owner
404u 404u 404u 404u 404u 404u 401u 401u 401r 401u POST /discussions : with nobody
200  200  200  200  200  200  401u 401u 401r 401u GET /messages
200  200  200  200  200  200  401u 401u 401r 401u GET /search
201  201  201  201  201  201  401u 401u 401r 401u POST /attachments
200  404a 404a 404a 404a 404a 401u 401u 401r 401u GET /attachments/{id} : the owner's, not sent
200  200  200  200  200  200  200  401u 401r 401u GET /events
101  101  101  101  101  101  101  401u 401r 401u GET /ws
`;

/** Other people. */
const people = `
200  200  200  200  200  200  401u 401u 401r 401u GET /users
200  200  200  200  200  200  401u 401u 401r 401u GET /users/{id}
200  200  200  200  200  200  401u 401u 401r 401u GET /users/{id}/avatar
200  200  200  200  200  200  401u 401u 401r 401u GET /users/{id}/presence
204  204  204  204  204  204  401u 401u 401r 401u PUT /users/{id}/block
400i 400i 400i 400i 400i 400i 401u 401u 401r 401u PUT /users/{id}/block : oneself
404u 404u 404u 404u 404u 404u 401u 401u 401r 401u PUT /users/{id}/block : nobody
204  204  204  204  204  204  401u 401u 401r 401u DELETE /users/{id}/block
204  204  204  204  204  204  401u 401u 401r 401u DELETE /users/{id}/block : the owner's of the blocked
`;

/** A group that only its members know of. */
const privateGroup = `
200  200  200  200  404d 404d 401u 401u 401r 401u GET /discussions/{id}
200  200  403f 403f 404d 404d 401u 401u 401r 401u PATCH /discussions/{id}
200  200  403f 403f 404d 404d 401u 401u 401r 401u PATCH /discussions/{id} : to public
204  403f 403f 403f 404d 404d 401u 401u 401r 401u DELETE /discussions/{id}
200  200  200  200  404d 404d 401u 401u 401r 401u POST /discussions/{id}/join
200  200  200  200  404d 404d 401u 401u 401r 401u GET /discussions/{id}/members
200  200  200  200  404d 404d 401u 401u 401r 401u POST /discussions/{id}/members
404u 404u 404u 404u 404d 404d 401u 401u 401r 401u POST /discussions/{id}/members : nobody
200  403f 403f 403f 404d 404d 401u 401u 401r 401u PATCH /discussions/{id}/members/{user_id} : to admin
200  403f 403f 403f 404d 404d 401u 401u 401r 401u PATCH /discussions/{id}/members/{user_id} : to owner
200  403f 403f 403f 404d 404d 401u 401u 401r 401u PATCH /discussions/{id}/members/{user_id} : self to owner
409l 403f 403f 403f 404d 404d 401u 401u 401r 401u PATCH /discussions/{id}/members/{user_id} : owner down
404m 404m 404m 404m 404d 404d 401u 401u 401r 401u PATCH /discussions/{id}/members/{user_id} : no member
204  204  403f 403f 404d 404d 401u 401u 401r 401u DELETE /discussions/{id}/members/{user_id} : a member
204  403f 403f 403f 404d 404d 401u 401u 401r 401u DELETE /discussions/{id}/members/{user_id} : an admin
409l 403f 403f 403f 404d 404d 401u 401u 401r 401u DELETE /discussions/{id}/members/{user_id} : the owner
409l 204  204  204  404d 404d 401u 401u 401r 401u DELETE /discussions/{id}/members/{user_id} : oneself
404m 404m 404m 404m 404d 404d 401u 401u 401r 401u DELETE /discussions/{id}/members/{user_id} : no member
200  200  200  200  404d 404d 401u 401u 401r 401u PUT /discussions/{id}/read
204  204  204  204  404d 404d 401u 401u 401r 401u PUT /discussions/{id}/mute
204  204  204  204  404d 404d 401u 401u 401r 401u POST /discussions/{id}/typing
200  200  200  200  404d 404d 401u 401u 401r 401u GET /discussions/{id}/presence
201  201  201  201  404d 404d 401u 401u 401r 401u POST /discussions/{id}/messages
200  200  200  200  404d 404d 401u 401u 401r 401u GET /discussions/{id}/messages
200  200  200  200  404d 404d 401u 401u 401r 401u GET /messages : of it
200  200  200  200  404d 404d 401u 401u 401r 401u GET /search : in it
200  403f 403f 403f 404d 404d 401u 401u 401r 401u PATCH /discussions/{id}/messages/{seq} : the owner's
200  200  200  200  404d 404d 401u 401u 401r 401u PATCH /discussions/{id}/messages/{seq} : one's own
404g 404g 404g 404g 404d 404d 401u 401u 401r 401u PATCH /discussions/{id}/messages/{seq} : none
204  204  403f 403f 404d 404d 401u 401u 401r 401u DELETE /discussions/{id}/messages/{seq} : the owner's
204  204  204  204  404d 404d 401u 401u 401r 401u DELETE /discussions/{id}/messages/{seq} : one's own
404g 404g 404g 404g 404d 404d 401u 401u 401r 401u DELETE /discussions/{id}/messages/{seq} : none
200  200  200  200  404d 404d 401u 401u 401r 401u GET /discussions/{id}/messages/{seq}/edits
404g 404g 404g 404g 404d 404d 401u 401u 401r 401u GET /discussions/{id}/messages/{seq}/edits : none
204  204  204  204  404d 404d 401u 401u 401r 401u PUT /discussions/{id}/messages/{seq}/reactions/{emoji}
204  204  204  204  404d 404d 401u 401u 401r 401u DELETE /discussions/{id}/messages/{seq}/reactions/{emoji}
200  200  200  200  404a 404a 401u 401u 401r 401u GET /attachments/{id} : sent there
200  200  200  200  404d 404d 404d 401u 401r 401u GET /discussions/{id}/events
101  101  101  101  404d 404d 404d 401u 401r 401u GET /discussions/{id}/ws
`;

/** A group that everybody may see and join: without that, they see it without its messages. */
const publicGroup = `
200  200  200  200  200  200  401u 401u 401r 401u GET /discussions/{id}
200  200  403f 403f 403m 403m 401u 401u 401r 401u PATCH /discussions/{id}
200  200  403f 403f 403m 403m 401u 401u 401r 401u PATCH /discussions/{id} : to private
204  403f 403f 403f 403m 403m 401u 401u 401r 401u DELETE /discussions/{id}
200  200  200  200  200  200  401u 401u 401r 401u POST /discussions/{id}/join
200  200  200  200  200  200  401u 401u 401r 401u GET /discussions/{id}/members
200  200  200  200  403m 403m 401u 401u 401r 401u POST /discussions/{id}/members
200  403f 403f 403f 403m 403m 401u 401u 401r 401u PATCH /discussions/{id}/members/{user_id} : to owner
200  403f 403f 403f 403m 403m 401u 401u 401r 401u PATCH /discussions/{id}/members/{user_id} : self to owner
204  204  403f 403f 403m 403m 401u 401u 401r 401u DELETE /discussions/{id}/members/{user_id} : a member
409l 403f 403f 403f 403m 403m 401u 401u 401r 401u DELETE /discussions/{id}/members/{user_id} : the owner
409l 204  204  204  403m 403m 401u 401u 401r 401u DELETE /discussions/{id}/members/{user_id} : oneself
200  200  200  200  403m 403m 401u 401u 401r 401u PUT /discussions/{id}/read
204  204  204  204  403m 403m 401u 401u 401r 401u PUT /discussions/{id}/mute
204  204  204  204  403m 403m 401u 401u 401r 401u POST /discussions/{id}/typing
200  200  200  200  403m 403m 401u 401u 401r 401u GET /discussions/{id}/presence
201  201  201  201  403m 403m 401u 401u 401r 401u POST /discussions/{id}/messages
200  200  200  200  403m 403m 401u 401u 401r 401u GET /discussions/{id}/messages
200  200  200  200  403m 403m 401u 401u 401r 401u GET /messages : of it
200  200  200  200  403m 403m 401u 401u 401r 401u GET /search : in it
200  403f 403f 403f 403m 403m 401u 401u 401r 401u PATCH /discussions/{id}/messages/{seq} : the owner's
200  200  200  200  403m 403m 401u 401u 401r 401u PATCH /discussions/{id}/messages/{seq} : one's own
204  204  403f 403f 403m 403m 401u 401u 401r 401u DELETE /discussions/{id}/messages/{seq} : the owner's
204  204  204  204  403m 403m 401u 401u 401r 401u DELETE /discussions/{id}/messages/{seq} : one's own
404g 404g 404g 404g 403m 403m 401u 401u 401r 401u DELETE /discussions/{id}/messages/{seq} : none
200  200  200  200  403m 403m 401u 401u 401r 401u GET /discussions/{id}/messages/{seq}/edits
204  204  204  204  403m 403m 401u 401u 401r 401u PUT /discussions/{id}/messages/{seq}/reactions/{emoji}
204  204  204  204  403m 403m 401u 401u 401r 401u DELETE /discussions/{id}/messages/{seq}/reactions/{emoji}
200  200  200  200  404a 404a 401u 401u 401r 401u GET /attachments/{id} : sent there
200  200  200  200  403m 403m 403m 401u 401r 401u GET /discussions/{id}/events
101  101  101  101  403m 403m 403m 401u 401r 401u GET /discussions/{id}/ws
`;

/** Between the owner and the member. All others, whatever they are elsewhere, know nothing of it. */
const direct = `
200  404d 200  404d 404d 404d 401u 401u 401r 401u GET /discussions/{id}
409d 404d 409d 404d 404d 404d 401u 401u 401r 401u PATCH /discussions/{id}
409d 404d 409d 404d 404d 404d 401u 401u 401r 401u PATCH /discussions/{id} : to public
409d 404d 409d 404d 404d 404d 401u 401u 401r 401u DELETE /discussions/{id}
200  404d 200  404d 404d 404d 401u 401u 401r 401u POST /discussions/{id}/join
200  404d 200  404d 404d 404d 401u 401u 401r 401u GET /discussions/{id}/members
409d 404d 409d 404d 404d 404d 401u 401u 401r 401u POST /discussions/{id}/members
409d 404d 409d 404d 404d 404d 401u 401u 401r 401u PATCH /discussions/{id}/members/{user_id} : self to owner
409d 404d 409d 404d 404d 404d 401u 401u 401r 401u DELETE /discussions/{id}/members/{user_id} : the owner
409d 404d 409d 404d 404d 404d 401u 401u 401r 401u DELETE /discussions/{id}/members/{user_id} : oneself
200  404d 200  404d 404d 404d 401u 401u 401r 401u PUT /discussions/{id}/read
204  404d 204  404d 404d 404d 401u 401u 401r 401u PUT /discussions/{id}/mute
204  404d 204  404d 404d 404d 401u 401u 401r 401u POST /discussions/{id}/typing
200  404d 200  404d 404d 404d 401u 401u 401r 401u GET /discussions/{id}/presence
201  404d 201  404d 404d 404d 401u 401u 401r 401u POST /discussions/{id}/messages
200  404d 200  404d 404d 404d 401u 401u 401r 401u GET /discussions/{id}/messages
200  404d 200  404d 404d 404d 401u 401u 401r 401u GET /messages : of it
200  404d 200  404d 404d 404d 401u 401u 401r 401u GET /search : in it
200  404d 403f 404d 404d 404d 401u 401u 401r 401u PATCH /discussions/{id}/messages/{seq} : the owner's
200  404d 200  404d 404d 404d 401u 401u 401r 401u PATCH /discussions/{id}/messages/{seq} : one's own
204  404d 403f 404d 404d 404d 401u 401u 401r 401u DELETE /discussions/{id}/messages/{seq} : the owner's
204  404d 204  404d 404d 404d 401u 401u 401r 401u DELETE /discussions/{id}/messages/{seq} : one's own
200  404d 200  404d 404d 404d 401u 401u 401r 401u GET /discussions/{id}/messages/{seq}/edits
204  404d 204  404d 404d 404d 401u 401u 401r 401u PUT /discussions/{id}/messages/{seq}/reactions/{emoji}
204  404d 204  404d 404d 404d 401u 401u 401r 401u DELETE /discussions/{id}/messages/{seq}/reactions/{emoji}
200  404a 200  404a 404a 404a 401u 401u 401r 401u GET /attachments/{id} : sent there
200  404d 200  404d 404d 404d 404d 401u 401r 401u GET /discussions/{id}/events
101  404d 101  404d 404d 404d 404d 401u 401r 401u GET /discussions/{id}/ws
`;

/** Between the owner and the one whom the owner has blocked since: who still reads it, and says no more. */
const blockedDirect = `
200  404d 404d 200  404d 404d 401u 401u 401r 401u GET /discussions/{id}
409d 404d 404d 409d 404d 404d 401u 401u 401r 401u PATCH /discussions/{id}
409d 404d 404d 409d 404d 404d 401u 401u 401r 401u DELETE /discussions/{id}
200  404d 404d 200  404d 404d 401u 401u 401r 401u POST /discussions/{id}/join
200  404d 404d 200  404d 404d 401u 401u 401r 401u GET /discussions/{id}/members
409d 404d 404d 409d 404d 404d 401u 401u 401r 401u POST /discussions/{id}/members
409d 404d 404d 409d 404d 404d 401u 401u 401r 401u PATCH /discussions/{id}/members/{user_id} : self to owner
409d 404d 404d 409d 404d 404d 401u 401u 401r 401u DELETE /discussions/{id}/members/{user_id} : the owner
200  404d 404d 200  404d 404d 401u 401u 401r 401u PUT /discussions/{id}/read
204  404d 404d 204  404d 404d 401u 401u 401r 401u PUT /discussions/{id}/mute
204  404d 404d 403b 404d 404d 401u 401u 401r 401u POST /discussions/{id}/typing
200  404d 404d 200  404d 404d 401u 401u 401r 401u GET /discussions/{id}/presence
201  404d 404d 403b 404d 404d 401u 401u 401r 401u POST /discussions/{id}/messages
200  404d 404d 200  404d 404d 401u 401u 401r 401u GET /discussions/{id}/messages
200  404d 404d 403f 404d 404d 401u 401u 401r 401u PATCH /discussions/{id}/messages/{seq} : the owner's
200  404d 404d 403b 404d 404d 401u 401u 401r 401u PATCH /discussions/{id}/messages/{seq} : one's own
204  404d 404d 403f 404d 404d 401u 401u 401r 401u DELETE /discussions/{id}/messages/{seq} : the owner's
204  404d 404d 204  404d 404d 401u 401u 401r 401u DELETE /discussions/{id}/messages/{seq} : one's own
200  404d 404d 200  404d 404d 401u 401u 401r 401u GET /discussions/{id}/messages/{seq}/edits
204  404d 404d 403b 404d 404d 401u 401u 401r 401u PUT /discussions/{id}/messages/{seq}/reactions/{emoji}
204  404d 404d 403b 404d 404d 401u 401u 401r 401u DELETE /discussions/{id}/messages/{seq}/reactions/{emoji}
200  404d 404d 200  404d 404d 404d 401u 401r 401u GET /discussions/{id}/events
101  404d 404d 101  404d 404d 404d 401u 401r 401u GET /discussions/{id}/ws
`;

/** Where it is done, with what comes of it. */
export const routeTables: Readonly<Record<Place, readonly Row[]>> = {
  nowhere: [...readTable(open), ...readTable(own), ...readTable(people)],
  "private group": readTable(privateGroup),
  "public group": readTable(publicGroup),
  direct: readTable(direct),
  "blocked direct": readTable(blockedDirect),
};

export type Place = "nowhere" | "private group" | "public group" | "direct" | "blocked direct";
