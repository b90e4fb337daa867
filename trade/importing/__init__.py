"""Import the teams and orders of the Java reference, group-buy-market (数据迁移).

source    reads its MySQL database in batches
catalog   channels, goods, discounts, activities and offers
crowds    crowd tags, their members and jobs
plan      one team as rows of ours
repairs   changes to a team that breaks a rule of the platform
promises  the notifications of a team
run       the whole import; manage.py import_group_buy_market calls it
report    the faults that were found, and their consequences
"""
