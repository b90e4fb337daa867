"""Is this user in that crowd? And: put users into it."""

from collections.abc import Iterable

from tag.models import CrowdMember, CrowdTag, CrowdUser

BATCH = 1000


def is_member(tag_id: str, user_id: str) -> bool:
    """A crowd that does not exist has no members: a limit never opens by mistake."""
    return CrowdMember.objects.filter(tag_id=tag_id, user__user_id=user_id).exists()


def add_members(tag: CrowdTag, user_ids: Iterable[str]) -> int:
    """Put these users into the crowd, return how many it has. Repeating it changes nothing."""
    wanted = sorted(set(user_ids))
    for start in range(0, len(wanted), BATCH):
        batch = wanted[start : start + BATCH]
        CrowdUser.objects.bulk_create(
            [CrowdUser(user_id=user_id) for user_id in batch], ignore_conflicts=True
        )
        users = CrowdUser.objects.filter(user_id__in=batch)
        CrowdMember.objects.bulk_create(
            [CrowdMember(tag=tag, user=user) for user in users], ignore_conflicts=True
        )
    return tag.members.count()
