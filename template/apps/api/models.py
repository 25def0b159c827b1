from django.db import models


class CacheEntry(models.Model):
    """The table of Django's database cache, as a model so that ``migrate`` creates it.

    https://docs.djangoproject.com/en/6.1/topics/cache/#database-caching
    """

    cache_key = models.CharField(max_length=255, primary_key=True)
    value = models.TextField()
    expires = models.DateTimeField(db_index=True)

    class Meta:
        db_table = "api_cache"
        verbose_name_plural = "cache entries"

    def __str__(self) -> str:
        return self.cache_key
