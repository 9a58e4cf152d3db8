"""Accounts in the store, in each of its databases."""

import asyncio
from uuid import uuid4

import pytest

from compute_nb.service.rows import Conflict, Forbidden, NotFound
from compute_nb.service.server import own_principal
from compute_nb.service.store import Store
from compute_nb.service.tokens import Token, new_token
from compute_nb.tasks import Submission, TaskSpec, new_id, new_ids


def playing(place, scene):
    async def main():
        store = Store.open(place)
        store.start(lambda leaving: None)
        try:
            await scene(store)
        finally:
            store.close()

    asyncio.run(main())


def test_a_user_comes_has_tokens_and_goes(place):
    async def scene(store):
        accounts, group = store.accounts, uuid4()
        alice = await accounts.add("alice", admin=False, groups=[group, group])
        assert (alice.name, alice.admin, alice.groups) == ("alice", False, (group,))
        with pytest.raises(Conflict, match="alice"):
            await accounts.add("alice", admin=True, groups=[])
        token = Token.parse(new_token())
        await store.add_principal(own_principal(token, alice.user))
        bearer = await accounts.bearer(token.public_id)
        assert (bearer.user, bearer.name, bearer.admin, bearer.scope) == (alice.user, "alice", False, "all")
        assert bearer.secret_hash == token.digest
        changed = await accounts.change(alice.user, admin=True, groups=None)
        assert (changed.admin, changed.groups) == (True, (group,))
        changed = await accounts.change(alice.user, admin=None, groups=[])
        assert (changed.admin, changed.groups) == (True, ())
        assert (await accounts.bearer(token.public_id)).admin
        assert [one.public_id for one in await accounts.tokens(None)] == [token.public_id]
        assert await accounts.owner_of_token(token.public_id) == alice.user
        assert [one.public_id for one in await accounts.remove(alice.user)] == [token.public_id]
        assert await accounts.bearer(token.public_id) is None
        assert await accounts.owner_of_token(token.public_id) is None
        assert await accounts.all() == []
        for call in (accounts.get(alice.user), accounts.remove(alice.user)):
            with pytest.raises(NotFound):
                await call
        again = await accounts.add("alice", admin=False, groups=[])
        assert again.user != alice.user
        assert [one.user for one in await accounts.all()] == [again.user]

    playing(place, scene)


def test_the_own_user_keeps_his_account_and_gives_way_to_a_name_in_use(place):
    async def scene(store):
        me = new_id()
        await store.accounts.add("root", admin=False, groups=[])
        for _ in range(2):
            await store.accounts.ensure(me, "root")
        mine = await store.accounts.get(me)
        assert mine.admin
        assert mine.name == f"root-{me.hex[:8]}"

    playing(place, scene)


def test_a_function_of_a_group_and_open_tasks_are_told_by_user(place):
    async def scene(store):
        group = uuid4()
        owner = (await store.accounts.add("owner", admin=False, groups=[])).user
        member = (await store.accounts.add("member", admin=False, groups=[uuid4(), group])).user
        stranger = (await store.accounts.add("stranger", admin=False, groups=[uuid4()])).user
        function = await store.register_function(owner, "f", "4\ncode", group=group)
        endpoint = await store.register_endpoint(owner, "lab", {}, public=True)

        def submission(count=2):
            return Submission(endpoint, new_id(), tuple(TaskSpec(i, function, "a") for i in new_ids(count)))

        for user in (owner, member):
            assert (await store.function(user, function)).function_id == function
            await store.submit(user, submission())
        for call in (store.function(stranger, function), store.submit(stranger, submission())):
            with pytest.raises(Forbidden, match="group"):
                await call
        reply = await store.submit(member, submission(3))
        assert [await store.open_of(user) for user in (owner, member, stranger)] == [2, 5, 0]
        await store.cancel(member, task_ids=reply.task_ids)
        assert [await store.open_of(user) for user in (owner, member, stranger)] == [2, 2, 0]
        page = await store.places_of_group(member, reply.task_group_id, None, 2)
        rest = await store.places_of_group(member, reply.task_group_id, page[-1][0], 2)
        assert [task_id for task_id, _ in page + rest] == list(reply.task_ids)
        first, new = reply.task_ids[0], new_id()
        await store.retry(member, [(first, new)])
        page = await store.places_of_group(member, reply.task_group_id, None, 10)
        assert {task_id for task_id, _ in page} == {*reply.task_ids[1:], new}
        with pytest.raises(Forbidden):
            await store.places_of_group(owner, reply.task_group_id, None, 10)

    playing(place, scene)
